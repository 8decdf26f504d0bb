"""Files that were joined, or that other programs wrote in their own way: nothing of them is lost, nothing invented."""

import gzip
from decimal import Decimal

import pyarrow as pa
import pytest
from kinds import STEPS, titles
from pyarrow import parquet

from msr_local.catalogue.ingest import ingest
from msr_local.catalogue.readers import find_sources
from msr_local.errors import InputError

LISTED = "item_id,title\n" + "".join(f"{n},Good {n}\n" for n in range(3))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_the_header_of_a_file_that_was_joined_is_no_item(put, rows, mark, quote):
    more = f"{mark}{quote}item_id{quote},{quote}title{quote}\n{mark}3,Good 3\n{mark}\n4,Good 4\n5,Good 5\n"
    put(LISTED.replace("item_id,title", more.splitlines()[0].removeprefix(mark)) + more)
    assert titles(rows) == [f"Good {n}" for n in range(6)]
    assert rows("SELECT line, reason LIKE '%the header again%' FROM rejects") == [(5, 1)]
    assert rows("SELECT count(*) FROM interactions") == [(24,)]


def test_the_typed_header_of_a_file_that_was_joined_is_no_item(put, rows):
    typed = "item_id:token\ttitle:token_seq\n"
    put(typed + "".join(f"{n}\tGood {n}\n" for n in range(6)) + typed, names=("a.item", "steps.csv"))
    assert titles(rows) == [f"Good {n}" for n in range(6)] and put.done.rejected == 1


@pytest.mark.parametrize("sign", [",", ";"])
def test_quotes_after_blanks_are_quotes(put, rows, sign):
    goods = f'item_id{sign} "title"{sign} text\n'
    goods += "".join(f'{n}{sign}  "Good, {n}; ""new"""  {sign} 5 "x"\n' for n in range(6))
    put(goods, "user_id, item_id\n" + "".join(f'u, "{n}"\n' for n in range(6)))
    assert titles(rows) == [f'Good, {n}; "new"' for n in range(6)]
    assert rows("SELECT DISTINCT json_extract(attributes, '$.text') FROM items") == [('5 "x"',)]
    assert rows("SELECT count(*) FROM interactions") == [(6,)]


def test_a_quote_after_blanks_that_does_not_close_its_cell_is_text(put, rows):
    put('item_id,title\n0, "So" they said\n1, "Open\n2, "a" "b"\n' + "".join(f"{n},x\n" for n in range(3, 6)))
    assert titles(rows)[:3] == ['"So" they said', '"Open', '"a" "b"']


@pytest.mark.parametrize("coded", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("word", ["Good", "漢字の映画と物語", "Привет", "مرحبا بالعالم", "\U0001f600\u200d\U0001f600"])
def test_wide_letters_without_a_mark_whatever_the_script(put, rows, coded, word):
    goods = "item_id,title,text\r\n" + "".join(f"{n},{word} {n},{word * 20}\r\n" for n in range(60))
    said = put(goods.encode(coded), STEPS.encode("utf-16-le"))
    assert titles(rows) == [f"{word} {n}" for n in range(60)]
    assert rows("SELECT count(*) FROM interactions") == [(24,)]
    assert "steps.csv: UTF-16 without a byte order mark" in said


def test_zeros_in_text_make_it_no_wide_letters(put, rows):
    put("item_id,title\n" + "".join(f"{n},Good\0 {n}\n\0\0\n" for n in range(6)))
    assert [title for title in titles(rows) if title.startswith("Good")] == [f"Good\ufffd {n}" for n in range(6)]


def test_decimals_and_maps_of_databases_in_parquet(put, rows, tmp_path):
    whole, cents = pa.decimal128(38, 0), pa.decimal128(9, 2)
    goods = {
        "item_id": pa.array([*map(Decimal, range(100, 106)), Decimal(10**30)], whole),
        "title": ["Good"] * 7,
        "price": pa.array([Decimal("12.50"), Decimal("3.00"), None, *[Decimal(1)] * 4], cents),
        "details": pa.array(
            [[("colour", "red")], None, [], *[[("colour", "blue")]] * 4], pa.map_(pa.string(), pa.string())
        ),
    }
    steps = {
        "user": pa.array(map(Decimal, range(6)), cents),
        "item": pa.array(map(Decimal, range(100, 106)), cents),
        "time": pa.array([Decimal(1_600_000_000 + n) for n in range(6)], whole),
        "rating": pa.array([Decimal("4.50")] * 6, cents),
    }
    for name, table in (("goods", goods), ("steps", steps)):
        parquet.write_table(pa.table(table), tmp_path / name)
    put(*((tmp_path / name).read_bytes() for name in ("goods", "steps")), names=("a.parquet", "b.parquet"))
    assert rows("SELECT user_id, item_id, timestamp, rating FROM interactions ORDER BY id")[1] == (
        "1", "101", "2020-09-13T12:26:41+00:00", 4.5,
    )  # fmt: skip
    assert rows(f"SELECT count(*) FROM items WHERE item_id = '{10**30}'") == [(1,)]
    assert rows("SELECT attributes FROM items ORDER BY rowid LIMIT 3") == [
        ('{"price":"12.50","details":"{\\"colour\\": \\"red\\"}"}',), ('{"price":"3.00"}',), ("{}",),
    ]  # fmt: skip


@pytest.mark.parametrize("rows_of", ["items", "steps"])
def test_a_file_of_a_header_alone_is_told(put, rows_of):
    goods, steps = ("item_id,title\n", STEPS) if rows_of == "items" else (LISTED, "user_id,item_id\n\n")
    assert f"{rows_of}.csv: there are no rows in it. Next: see whether" in put(goods, steps)


def test_an_unknown_separator_is_named_as_a_cause(put):
    with pytest.raises(InputError, match="part its columns by commas or tabs"):
        put(LISTED, STEPS.replace(",", "#"))


def test_quantities_below_zero_are_counted_and_stay(put, rows):
    steps = "user_id,item_id,Quantity\n" + "".join(f"u,{n},{n - 1}\n" for n in range(3)) + "u,0,-2\nu,1,x\nu,2,\n"
    said = put(LISTED, steps)
    assert "rows of the first 6 with 'Quantity' below 0, as returns have: 2." in said
    assert rows("SELECT count(*) FROM interactions") == [(6,)]
    assert "below 0" not in put(LISTED, steps.replace("-", ""), names=("items.csv", "more.csv"))
    both = steps.replace("Quantity", "Quantity,title").replace("\n", ",Good\n").replace("title,Good", "title")
    assert "'Quantity' below 0, as returns have: 2." in put(both, both, names=("both.csv", "both.csv"))


def test_nothing_is_lost_of_columns_with_one_name(put, rows):
    put("item_id,title,price,tag, price,price\n0,Good,3,red,4,\n1,Bad,,,5,6\n")
    assert [attributes for (attributes,) in rows("SELECT attributes FROM items")] == [
        '{"price":"3","tag":"red","price (2)":"4"}', '{"price (2)":"5","price (3)":"6"}',
    ]  # fmt: skip


@pytest.mark.parametrize(("no", "yes"), [("0", "1"), ("False", "True"), ("0.0", "1.0")])
def test_rows_in_which_nothing_happened_are_counted_and_stay(put, rows, no, yes):
    steps = f"user_id,item_id,Clicked\nu,0,{no}\nu,1,{yes}\nu,2,{no}\n"
    said = put(LISTED, steps)
    assert "rows of the first 3 with 'Clicked' 0: 2." in said and "--map Clicked=rating --min-rating 1" in said
    assert rows("SELECT count(*) FROM interactions") == [(3,)]
    other = steps.replace("u,", "v,")
    put(LISTED, other, names=("items.csv", "more.csv"), mapping={"Clicked": "rating"}, min_rating=1)
    assert rows("SELECT item_id FROM interactions WHERE user_id = 'v'") == [("1",)]
    assert "nothing happened" not in put(LISTED, steps.replace(no, yes), names=("items.csv", "all.csv"))


def test_times_that_a_spreadsheet_has_cut_are_told(put):
    said = put(LISTED, "user,item,time\nu,0,1.5463E+12\nu,1,1.5463E+12\n")
    assert "times like '1.5463E+12'" in said and "Next: export the column 'time' as text" in said
    assert "spreadsheet" not in put(LISTED, "user,item,time\nv,0,1546300800000\n")


def test_a_folder_whose_names_are_in_capitals_and_one_that_holds_others(tmp_path):
    for name in ("Items.CSV", "INTERACTIONS.csv", "items.bak", "notes.pdf"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in find_sources(tmp_path, None)] == ["Items.CSV", "INTERACTIONS.csv"]
    (tmp_path / "Items.CSV").rename(tmp_path / "products.csv")
    with pytest.raises(InputError, match=r"It holds INTERACTIONS\.csv, products\.csv\. Next: name the two files"):
        find_sources(tmp_path, None)


SHOP = {
    "articles.csv": "article_id,prod_name\n1,Red shoe\n",
    "customers.csv": "customer_id,age\nann,40\n",
    "log.jsonl.gz": gzip.compress(b'{"user_id": "ann", "article_id": 1, "title": "Nice"}\n'),
    "broken.json": "[",
    "notes.pdf": "x",
}


def test_a_folder_whose_names_tell_nothing_is_read_by_its_columns(tmp_path, workspace):
    for name, content in SHOP.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    said = []
    done = ingest(workspace, tmp_path, tell=said.append)
    assert (done.items.new, done.interactions.new) == (1, 1)
    assert "Items are read from articles.csv, interactions from log.jsonl.gz." in said


@pytest.mark.parametrize("more", ["articles.csv", "log.jsonl.gz"])
def test_a_folder_of_several_pairs_is_refused(tmp_path, more):
    for name, content in {**SHOP, f"more-{more}": SHOP[more]}.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match="neither by name nor by columns"):
        find_sources(tmp_path, None)


def test_a_matrix_of_ratings_is_refused_with_the_way_to_rows(put):
    with pytest.raises(InputError, match=r"found no column for item_id.*if each column is an item.*melt\('user', "):
        put(LISTED, "user,0,1,2\nann,5,,3\nbob,,4,1\n")


@pytest.mark.parametrize("title", ["It's", "None of us", "A \\ud83d\\ude00 True a\\/b", "Plain"])
def test_json_lines_that_end_in_a_comma_are_json(put, rows, title):
    said = put("".join(f'{{"item_id": {n}, "title": "{title}", "x": null}},\n' for n in range(6)))
    assert set(titles(rows)) == {title.replace("\\ud83d\\ude00", "\U0001f600").replace("\\/", "/")}
    assert put.done.rejected == 0 and "Python" not in said


def test_sets_of_python_are_the_same_in_each_process(put):
    rows = "".join(f"{{'item_id': {n}, 'title': 'Good', 'tags': {{'b', 'a', 'c', 'd'}}}}\n" for n in range(6))
    put(rows)
    put(rows)
    assert put.done.items.unchanged == 6
