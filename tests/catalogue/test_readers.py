"""Formats, columns and folders."""

import datetime
import decimal
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from msr_local.catalogue.readers import find_sources, read_interactions, read_items
from msr_local.errors import InputError
from msr_local.store.rows import InteractionRow, ItemRow, Rejected

DATA = Path(__file__).parents[3] / "shared" / "data"
real_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not here: ../shared/data is absent")
fast = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
NOON = "2001-09-09T01:46:40+00:00"


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Columns


@pytest.mark.parametrize(
    "header",
    [
        "item_id,title,image",
        "Item ID,Title,IMAGE",
        "\ufeffItemId,Name,image_path",
        "movieId,title,poster",
        "imdb_id,product_name,img",
        "product-id,productDisplayName,Picture",
        "parent_asin,item name,photo",
        "id,title,thumbnail",
        '"item_id", movie_title ,cover',
    ],
)
def test_usual_item_headers(tmp_path, header):
    assert list(read_items(write(tmp_path / "a.csv", f"{header}\n1,Alien,a.jpg\n"), {})) == [
        ItemRow(2, "1", "Alien", {}, "a.jpg")
    ]


@pytest.mark.parametrize(
    "header",
    [
        "user_id,item_id,rating,timestamp",
        "userid,movieid,rating,timestamp",
        "reviewerID,asin,overall,unixReviewTime",
        "visitor id,ITEM,score,event-time",
        "Session_ID,sku,stars,created at",
        "uid,iid,rate,ts",
    ],
)
def test_usual_interaction_headers(tmp_path, header):
    path = write(tmp_path / "a.csv", f"{header}\nu,1,4,1000000000\n")
    assert list(read_interactions(path, {})) == [InteractionRow(2, "u", "1", NOON, 4.0)]


def test_of_two_columns_the_exact_then_the_likelier_one_is_the_field(tmp_path):
    path = write(tmp_path / "a.csv", "id,item_id,name,TITLE,asin\n1,2,three,four,5\n")
    assert list(read_items(path, {})) == [ItemRow(2, "2", "four", {"id": "1", "name": "three", "asin": "5"}, None)]
    path = write(tmp_path / "b.csv", "Item ID,item_id,title\n1,2,x\n")
    assert next(read_items(path, {})).item_id == "2"


def test_id_is_no_item_in_an_interactions_file(tmp_path):
    with pytest.raises(InputError, match="item_id"):
        list(read_interactions(write(tmp_path / "a.csv", "user_id,id\n1,2\n"), {}))


def test_other_item_columns_become_attributes(tmp_path):
    path = write(tmp_path / "a.csv", ",item_id,title, Base Colour ,size\n0,1,Shirt, blue ,\n")
    assert next(read_items(path, {})).attributes == {"Base Colour": "blue"}


def test_mapping(tmp_path):
    path = write(tmp_path / "a.csv", "title,headline,code,secret\nx,Alien,1,no\n")
    mapping = {"code": "item_id", "headline": "title", "secret": "ignore"}
    assert list(read_items(path, mapping)) == [ItemRow(2, "1", "Alien", {"title": "x"}, None)]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"colour": "title"}, "no column 'colour' to map. Its columns are: item_id, title, name"),
        ({"name": "rating"}, "The fields are: item_id, title, image, ignore"),
        ({"title": "title", "name": "title"}, "more than one column is mapped to title"),
        ({"title": "ignore", "name": "ignore"}, "found no column for title"),
    ],
)
def test_mapping_that_does_not_fit(tmp_path, mapping, message):
    with pytest.raises(InputError, match=re.escape(message)):
        list(read_items(write(tmp_path / "a.csv", "item_id,title,name\n"), mapping))


def test_interactions_given_as_items_are_told_from_items_without_a_title(tmp_path):
    with pytest.raises(InputError, match="if these are the interactions, name the file of the items before this one"):
        list(read_items(write(tmp_path / "a.csv", "user_id,item_id,timestamp\nada,1,5\n"), {}))
    with pytest.raises(InputError, match=r"say which one it is with --map COLUMN=title\.$"):
        list(read_items(write(tmp_path / "b.csv", "item_id,label\n1,x\n"), {}))


# Formats


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json"])
def test_json_lines(tmp_path, suffix):
    lines = [
        '{"item_id": 42, "title": "Alien", "year": 1979, "tags": ["a", null, 2], "more": {"x": [1]}, "none": null}',
        "",
        '{"title": 1984, "item_id": 42.0, "image": ["a.jpg", "b.jpg"], "ok": true, "score": NaN}',
        '{"item_id": "a\\ud800\\u0000", "title": " \\u00e9 ", "k\\u0000": "\\ud83c\\udfac"}',
        '{"item_id": true, "title": "x"}',
        '{"item_id": [1], "title": "x"}',
        '{"item_id": {"a": 1}, "title": "x"}',
        '{"item_id": 1, "title": null}',
        '{"title": "x"}',
        '{"item_id": 1, "title": "x", "image": {"bytes": "..."}}',
        "[1]",
        '{"item_id": 1, "title": "cut',
        '{"item_id": ' + "9" * 5000 + ', "title": "x"',
        '{"item_id": 7, "title": ' + "[" * 100_000,
    ]
    rows = list(read_items(write(tmp_path / f"a{suffix}", "\n".join(lines)), {}))
    assert rows[:3] == [
        ItemRow(1, "42", "Alien", {"year": 1979, "tags": ["a", 2], "more": '{"x": [1]}'}, None),
        ItemRow(3, "42", "1984", {"ok": True}, "a.jpg"),
        ItemRow(4, "a\ufffd\ufffd", "é", {"k\ufffd": "🎬"}, None),
    ]
    # A picture that is no path is refused later, when it is looked for; its item stays.
    (odd,) = [row for row in rows[3:] if isinstance(row, ItemRow)]
    assert (odd.line, odd.item_id, odd.image) == (10, "1", "{'bytes': '...'}")
    rows.remove(odd)
    assert [(row.line, row.reason) for row in rows[3:]] == [
        (5, "item_id True is neither text nor a number"),
        (6, "item_id [1] is neither text nor a number"),
        (7, "item_id {'a': 1} is neither text nor a number"),
        (8, "title is empty"),
        (9, "item_id is empty"),
        (11, "row is not a JSON object"),
        (12, "row is not valid JSON"),
        (13, "row is not valid JSON"),
        (14, "row is not valid JSON"),
    ]
    assert rows[3].raw == lines[4]


def test_json_rows_may_have_columns_of_their_own(tmp_path):
    lines = ['{"user": "u", "item": 1, "ts": 1000000000}', '{"item": 2, "user": 3, "rating": 5}', '{"reviewerID": 1}']
    assert list(read_interactions(write(tmp_path / "a.jsonl", "\n".join(lines)), {})) == [
        InteractionRow(1, "u", "1", NOON, None),
        InteractionRow(2, "3", "2", None, 5.0),
        Rejected(3, "item_id is empty", lines[2]),
    ]


def array(elements, indent):
    return json.dumps(elements, indent=indent, ensure_ascii=False)


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_json_array(tmp_path, indent):
    elements = [{"item_id": n, "title": f"Ö{n}", "tags": [{"a": 1}]} for n in range(30_000)]
    rows = list(read_items(write(tmp_path / "a.json", "\n " + array(elements, indent)), {}))
    assert [row.item_id for row in rows] == [str(n) for n in range(30_000)]
    assert rows[7].title == "Ö7"
    assert rows[0].line == 2 + (indent is not None)


def test_json_array_with_broken_elements(tmp_path):
    text = """[
{"item_id": 1, "title": "one"},
{"item_id": 2, "title": "two},
{"item_id": 3, "title": "three"}, 17, {"item_id": 4, title: 4}, {"item_id": 5, "title": "five"}
] and more"""
    rows = list(read_items(write(tmp_path / "a.json", text), {}))
    assert [(row.line, row.item_id) for row in rows if isinstance(row, ItemRow)] == [(2, "1"), (4, "3"), (4, "5")]
    assert [(row.line, row.reason) for row in rows if isinstance(row, Rejected)] == [
        (3, "row is not valid JSON"),
        (4, "row is not a JSON object"),
        (4, "row is not valid JSON"),
        (5, "text after the end of the array"),
    ]


@pytest.mark.parametrize("cut", [0, 3, 40, 70])
def test_json_array_cut_short(tmp_path, cut):
    text = array([{"item_id": n, "title": f"title {n}"} for n in range(100)], None)[: -1 - cut]
    *rows, last = read_items(write(tmp_path / "a.json", text), {})
    assert last.reason == "the array is never closed"
    assert len([row for row in rows if isinstance(row, ItemRow)]) >= 97


@pytest.mark.parametrize("text", ["[]", "[1, 2]", "[", "{}", '{"a": \n'])
def test_json_without_objects(tmp_path, text):
    with pytest.raises(InputError, match="no JSON objects"):
        list(read_items(write(tmp_path / "a.json", text), {}))


@fast
@given(st.binary(max_size=200) | st.text('[]{}",:\\ue1 \n', max_size=60).map(str.encode))
def test_json_of_any_bytes(tmp_path, body):
    good = b'{"item_id": 1, "title": "x"}'
    rows = list(read_items(write(tmp_path / "a.jsonl", good + b"\n" + body + b"\n" + good), {}))
    assert rows[0].item_id == rows[-1].item_id == "1"
    assert [row.line for row in rows] == sorted({row.line for row in rows})
    rows = list(read_items(write(tmp_path / "a.json", b"[" + good + b",\n" + body), {}))
    assert isinstance(rows[0], ItemRow)


def test_parquet(tmp_path):
    table = pa.table(
        {
            "user_id": pa.array([1, 2, None], pa.int64()),
            "item_id": pa.array([b"a", "é".encode(), b"\xff"], pa.binary()),
            "rating": pa.array([4.0, float("nan"), 3.0]),
            "timestamp": pa.array([1_000_000_000_000_000_001] * 3, pa.timestamp("ns", tz="Europe/Paris")),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    good, nan, no_user = read_interactions(tmp_path / "a.parquet", {})
    assert good == InteractionRow(1, "1", "a", NOON, 4.0)
    assert nan == InteractionRow(2, "2", "é", NOON, None)
    assert (no_user.line, no_user.reason) == (3, "user_id is empty")
    assert json.loads(no_user.raw)["item_id"] == "(1 bytes)"


def test_parquet_items(tmp_path):
    table = pa.table(
        {
            "id": [1.0, 2.0],
            "name": pa.array(["x\0", None]).dictionary_encode(),
            "tags": [["a", "b"], []],
            "price": [decimal.Decimal("1.50"), None],
            "day": [datetime.date(2001, 9, 9), None],
            "blob": [b"\xff\xfe", b""],
            "brand": [{"a": 1}, None],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    good, bad = read_items(tmp_path / "a.parquet", {})
    attributes = {"tags": ["a", "b"], "price": "1.50", "day": "2001-09-09", "brand": '{"a": 1}'}
    assert good == ItemRow(1, "1", "x\ufffd", attributes, None)
    assert (bad.line, bad.reason) == (2, "title is empty")


def test_parquet_in_many_batches(tmp_path):
    parquet.write_table(pa.table({"item_id": range(5000), "title": ["x"] * 5000}), tmp_path / "a.parquet")
    rows = list(read_items(tmp_path / "a.parquet", {}))
    assert [row.line for row in rows] == list(range(1, 5001))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"item_id,title\n"])
def test_broken_parquet(tmp_path, data):
    with pytest.raises(InputError, match=r"a\.parquet: not a Parquet file"):
        list(read_items(write(tmp_path / "a.parquet", data), {}))


def test_recbole(tmp_path):
    item = (
        "item_id:token\tmovie_title:token_seq\tclass:token_seq\tyear:float\tvector:float_seq\tcode:token\n"
        '1\tThe "Thing\tHorror Sci-Fi\t1982\t0.5 1\tx\n'
        '2\t"Cube\t\tlate\t\t\n'
    )
    assert list(read_items(write(tmp_path / "a.item", item), {})) == [
        ItemRow(
            2,
            "1",
            'The "Thing',
            {"class": ["Horror", "Sci-Fi"], "year": 1982.0, "vector": [0.5, 1.0], "code": "x"},
            None,
        ),
        ItemRow(3, "2", '"Cube', {"year": "late"}, None),
    ]
    inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\t1\t4\t1000000000.0\n"
    assert list(read_interactions(write(tmp_path / "a.inter", inter), {})) == [InteractionRow(2, "u", "1", NOON, 4.0)]


def test_movielens_dat(tmp_path):
    movies = "1::Les Misérables: Part 2::Drama|War\n2::A::B::C\n".encode("latin-1")
    good, bad = read_items(write(tmp_path / "movies.dat", movies), {})
    assert good == ItemRow(1, "1", "Les Misérables: Part 2", {"genres": "Drama|War"}, None)
    assert bad == Rejected(2, "row has 4 cells, the header has 3", "2::A::B::C")
    ratings = write(tmp_path / "ratings.dat", "1::1::5::1000000000\n")
    assert list(read_interactions(ratings, {})) == [InteractionRow(1, "1", "1", NOON, 5.0)]


def test_microlens_pairs(tmp_path):
    path = write(tmp_path / "x_pairs.tsv", "1\t10 20\n2\t30  x40 50\n3\t\nfour\n\n5\t1\r\n")
    assert list(read_interactions(path, {})) == [
        InteractionRow(1, "1", "10", None, None),
        InteractionRow(1, "1", "20", None, None),
        InteractionRow(2, "2", "30", None, None),
        Rejected(2, "item_id 'x40' is not a number", "2\t30  x40 50"),
        InteractionRow(2, "2", "50", None, None),
        Rejected(3, "row is not a user, then item numbers", "3\t"),
        Rejected(4, "row is not a user, then item numbers", "four"),
        InteractionRow(6, "5", "1", None, None),
    ]


def test_a_tab_separated_file_with_a_header_is_no_list_of_pairs(tmp_path):
    path = write(tmp_path / "x_pairs.tsv", "user_id\titem_id\n1\t10 20\n")
    assert list(read_interactions(path, {})) == [InteractionRow(2, "1", "10 20", None, None)]


# Paths


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"gone\.csv: No such file"):
        list(read_items(tmp_path / "gone.csv", {}))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv: Is a directory"):
        list(read_items(tmp_path / "folder.csv", {}))


@pytest.mark.parametrize(
    "names",
    [
        ("movies.csv", "ratings.csv"),
        ("movies.dat", "ratings.dat"),
        ("ml-100k.item", "ml-100k.inter"),
        ("MicroLens-50k_titles.csv", "MicroLens-50k_pairs.tsv"),
        ("items.jsonl", "interactions.parquet"),
        ("items.csv.gz", "interactions.csv.gz"),
    ],
)
def test_find_sources_in_a_folder(tmp_path, names):
    for name in (*names, "README.txt", "items.bak", "tags.csv"):
        write(tmp_path / name, "")
    assert find_sources(tmp_path, None) == (tmp_path / names[0], tmp_path / names[1])


def test_find_sources_takes_two_files(tmp_path):
    a, b = write(tmp_path / "a", ""), write(tmp_path / "b", "")
    assert find_sources(a, b) == (a, b)


def test_find_sources_refusals(tmp_path):
    a = write(tmp_path / "a.csv", "")
    with pytest.raises(
        InputError, match=r"(?s)no known pair.*movies\.csv with ratings\.csv.*items\.\* with interactions"
    ):
        find_sources(tmp_path, None)
    with pytest.raises(InputError, match="name the interactions file too"):
        find_sources(a, None)
    with pytest.raises(InputError, match="gone: no such file"):
        find_sources(tmp_path / "gone", None)
    with pytest.raises(InputError, match="gone: no such file"):
        find_sources(a, tmp_path / "gone")
    with pytest.raises(InputError, match="is a folder"):
        find_sources(tmp_path, a)
    for name in ("x.item", "y.item", "x.inter"):
        write(tmp_path / name, "")
    with pytest.raises(InputError, match=r"more than one pair.*x\.item, y\.item, x\.inter"):
        find_sources(tmp_path, None)


@real_data
@pytest.mark.parametrize(
    ("folder", "items", "interactions"),
    [("movielens-small", 9742, 100_836), ("movietweetings", 10_506, 88_360), ("microlens-50k", 19_220, 359_708)],
)
def test_real_data_is_read_whole(folder, items, interactions):
    items_file, interactions_file = find_sources(DATA / folder, None)
    rows = list(read_items(items_file, {}))
    assert [row for row in rows if isinstance(row, Rejected)] == []
    assert len(rows) == items
    assert sum(isinstance(row, InteractionRow) for row in read_interactions(interactions_file, {})) == interactions
