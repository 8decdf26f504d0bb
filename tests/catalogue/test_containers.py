"""Files that are not what they seem, through `ingest`: packed, of other shapes, or no tables at all."""

import gzip
import io
import json
import zipfile

import pytest
from kinds import GOODS, titles

from msr_local.errors import InputError


def packed(kind, text):
    if kind == "gzip":
        return gzip.compress(text.encode())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data/items.csv", text)
        archive.writestr("__MACOSX/._items.csv", "x")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_packed_under_a_plain_name(put, rows, kind):
    put(packed(kind, GOODS))
    assert len(titles(rows)) == 6


def workbook():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
        archive.writestr("[Content_Types].xml", "<x/>")
    return file.getvalue()


def two_files():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "x")
        archive.writestr("b.csv", "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (workbook(), r"items\.csv: this is an Excel workbook"),
        (two_files(), r"zip archive of 2 files \(a\.csv, b\.csv\)"),
        (b"\x28\xb5\x2f\xfd123", "zstd"),
        (b"SQLite format 3\0" + b"x" * 99, "SQLite"),
        (b"\x80\x04\x95abc", "pickle"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid x", "Git LFS"),
        (b"%PDF-1.4", "PDF"),
    ],
)
def test_what_cannot_be_read_is_named(put, data, cause):
    with pytest.raises(InputError, match=f"{cause}.*Next: .*"):
        put(data)


ITEMS = [{"item_id": n, "title": f"It's {n}", "tags": [{"title": "x"}]} for n in range(6)]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"products": ITEMS}),
        json.dumps({"status": 1, "result": {"page": 1}, "items": ITEMS, "tags": [{"a": 1}]}, indent=1),
        json.dumps({"data": {"products": ITEMS}}),
        "\n".join(json.dumps(one, indent=2) for one in ITEMS),
        ",\n".join(json.dumps(one, indent=4) for one in ITEMS),
        json.dumps({str(one["item_id"]): one for one in ITEMS}),
        json.dumps({str(one["item_id"]): {"title": one["title"]} for one in ITEMS}, indent=2),
        json.dumps({"item_id": {str(n): n for n in range(6)}, "title": {str(n): f"It's {n}" for n in range(6)}}),
        json.dumps({"item_id": list(range(6)), "title": [f"It's {n}" for n in range(6)]}),
        json.dumps({"columns": ["item_id", "title"], "index": [], "data": [[n, f"It's {n}"] for n in range(6)]}),
        "\n".join(map(repr, ITEMS)),
        "\n".join(repr(one | {"old": None, "new": True}) for one in ITEMS),
        "".join(json.dumps(one) + ",\n" for one in ITEMS),
        json.dumps(ITEMS, indent=2),
    ],
)
@pytest.mark.parametrize("name", ["goods.json", "goods.csv"])
def test_json_of_many_shapes(put, rows, text, name):
    put(text, names=(name, "steps.csv"))
    assert titles(rows) == [f"It's {n}" for n in range(6)] and put.done.rejected == 0


def test_interactions_inside_an_object_are_no_users(put, rows):
    orders = [{"customer_id": f"c{n}", "product_id": n, "created_at": "2021-01-01"} for n in range(3)]
    put(GOODS, json.dumps({"orders": orders}), names=("items.csv", "orders.json"))
    assert rows("SELECT user_id, item_id FROM interactions ORDER BY id") == [("c0", "0"), ("c1", "1"), ("c2", "2")]


def test_rows_with_a_part_of_their_own(put, rows):
    elements = [{"type": "x", "id": n, "attributes": {"name": f"Good {n}"}, "links": {"self": "x"}} for n in range(6)]
    put(json.dumps({"data": elements, "meta": {"total": 6}}))
    assert titles(rows) == [f"Good {n}" for n in range(6)] and put.done.rejected == 0
    assert rows("SELECT attributes FROM items LIMIT 1") == [('{"type":"x","links":"{\\"self\\": \\"x\\"}"}',)]


@pytest.mark.parametrize("around", ['{"node": %s, "cursor": "x"}', '{"_id": "x", "_source": %s}', "%s"])
def test_rows_deep_inside_an_answer_of_a_server(put, rows, around):
    elements = ", ".join(around % json.dumps({"id": str(n), "title": f"Good {n}"}) for n in range(6))
    put('{"ok": true, "count": 6, "data": {"page": 1, "products": {"edges": [' + elements + "]}}}")
    assert titles(rows) == [f"Good {n}" for n in range(6)] and put.done.rejected == 0


def test_values_with_their_kinds_as_mongodb_writes_them(put, rows):
    steps = (
        '{"_id": {"$oid": "5f%d"}, "user_id": {"$numberLong": "%d"}, "item_id": %d, '
        '"created_at": {"$date": {"$numberLong": "1600000000000"}}}\n'
    )
    put(GOODS, "".join(steps % (n, n, n) for n in range(6)), names=("items.csv", "steps.json"))
    assert rows("SELECT user_id, timestamp FROM interactions LIMIT 1") == [("0", "2020-09-13T12:26:40+00:00")]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("wrapped", [False, True])
def test_kinds_of_values_however_the_export_is_set(put, rows, indent, wrapped):
    def written(name, elements):
        return json.dumps({name: elements} if wrapped else elements, indent=indent)

    def oid(n):
        return {"$oid": f"{n:024x}"}

    goods = [{"_id": oid(n), "name": f"Good {n}", "price": {"$numberDecimal": "3.5"}} for n in range(6)]
    steps = [
        {
            "_id": oid(90 + n),
            "customer": {"_id": oid(50 + n), "name": "Ann"},
            "items": [{"productId": oid(one), "quantity": 2} for one in (n, (n + 1) % 6)],
            "createdAt": {"$date": "2020-01-02T00:00:00Z"},
        }
        for n in range(6)
    ]
    put(written("products", goods), written("orders", steps), names=("goods.json", "steps.json"))
    assert put.done.rejected == 0
    assert rows("SELECT item_id, title, attributes FROM items LIMIT 1") == [("0" * 24, "Good 0", '{"price":"3.5"}')]
    assert rows("SELECT user_id, item_id FROM interactions WHERE rowid < 3") == [
        (f"{50:024x}", f"{one:024x}") for one in (0, 1)
    ]


def test_histories_by_user(put, rows):
    put(GOODS, json.dumps({"ann": ["1", "2", "3"], "bob": [4, 5]}), names=("items.csv", "steps.json"))
    assert rows("SELECT user_id, item_id FROM interactions ORDER BY id") == [
        ("ann", "1"), ("ann", "2"), ("ann", "3"), ("bob", "4"), ("bob", "5"),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_long_elements_and_broken_ones_with_objects_inside(put, rows, size):
    long = [{"item_id": n, "title": f"Good {n}", "text": "x" * size, "parts": [{"part": n}] * 3} for n in range(3)]
    elements = [json.dumps(one) for one in long]
    elements[1] = elements[1].replace('"title": ', '"title" ')
    put("[" + ", ".join(elements) + "]", names=("goods.json", "steps.csv"))
    assert titles(rows) == ["Good 0", "Good 2"]
    assert rows("SELECT count(*) FROM rejects WHERE reason = 'row is not valid JSON'") == [(1,)]


@pytest.mark.parametrize(("between", "rejects"), [("],\n", 0), ("]\n[", 0), ("]]] x\n", 1)])
def test_an_array_that_ends_before_its_rows_do(put, rows, between, rejects):
    one, other = (json.dumps(ITEMS[part])[1:-1] for part in (slice(3), slice(3, 6)))
    put(f"[{one}{between}{other}]", names=("goods.json", "steps.csv"))
    assert titles(rows) == [f"It's {n}" for n in range(6)]
    assert rows("SELECT count(*) FROM rejects") == [(rejects,)]
