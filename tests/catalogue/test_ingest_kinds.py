"""Files as people have them, through `ingest`: what becomes of them, and what is said."""

import contextlib
import gzip
import io
import json
import random
import time
import zipfile

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from msr_local.catalogue.ingest import Words, ingest
from msr_local.errors import InputError, NoSuchColumn

STEPS = "user_id,item_id,timestamp\n" + "".join(f"u{n % 4},{n % 6},{10**9 + 1000 * n}\n" for n in range(24))
GOODS = "item_id,title,colour\n" + "".join(f"{n},Good {n},red\n" for n in range(6))


@pytest.fixture
def put(tmp_path, workspace):
    """Write two files, ingest them, and return what was said; rows are asked of the workspace."""

    def call(items, steps=STEPS, *, names=("items.csv", "steps.csv"), **options):
        paths = []
        for name, content in zip(names, (items, steps), strict=True):
            path = tmp_path / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            paths.append(path)
        said = []
        call.done = ingest(workspace, *paths, tell=said.append, **options)
        return " ".join(said)

    return call


@pytest.fixture
def rows(workspace):
    return lambda sql: workspace.execute(sql).fetchall()


def titles(rows):
    return [title for (title,) in rows("SELECT title FROM items ORDER BY rowid")]


# Encodings


WORDS = {
    "gbk": ["红楼梦", "西游记", "水浒传", "三国演义", "儒林外史", "聊斋志异"],
    "cp932": ["吾輩は猫である", "坊っちゃん", "雪国", "ノルウェイの森", "こころ", "羅生門"],
    "big5": ["紅樓夢", "西遊記", "水滸傳", "三國演義", "聊齋誌異", "臺北人"],
    "cp949": ["채식주의자", "엄마를 부탁해", "소년이 온다", "토지", "태백산맥", "광장"],
    "koi8-r": ["Война и мир", "Идиот", "Мастер и Маргарита", "Анна Каренина", "Мёртвые души", "Вишнёвый сад"],
    "cp1251": ["Война и мир", "Идиот", "Мастер и Маргарита", "Анна Каренина", "Мёртвые души", "Вишнёвый сад"],
    "cp1253": ["Ζορμπάς", "Οδύσσεια", "Ιλιάδα", "Ο τελευταίος πειρασμός", "Αντιγόνη", "Μήδεια"],
    "cp1252": ["Les Misérables", "L'Étranger", "Crème brûlée", "Café – bar", "Français", "Nîmes"],
    "cp1250": ["Krzyżacy", "Ogniem i mieczem", "Zażółć gęślą jaźń", "Książę", "Łódź", "Żółw"],
    "utf-16-le": ["Über", "Öl", "Äpfel", "a", "b", "c"],
}


@pytest.mark.parametrize("encoding", WORDS)
def test_the_encoding_is_found_and_said(put, rows, encoding):
    lines = "item_id,title,kind\n" + "".join(f"{n},{title},{title}\n" for n, title in enumerate(WORDS[encoding]))
    said = put(lines.encode(encoding))
    assert titles(rows) == WORDS[encoding]
    assert "items.csv: " in said and "read as" in said


def test_the_encoding_may_be_named(put, rows):
    put("item_id,title\n1,\u0416\n".encode("koi8-r"), of_items=Words(encoding="koi8-r"))
    assert titles(rows) == ["\u0416"]
    with pytest.raises(InputError, match="no encoding 'klingon'"):
        put("item_id,title\n1,x\n", of_items=Words(encoding="klingon"))


def test_strays_in_utf8_are_said(put, rows):
    said = put("item_id,title\n1,Amélie\n2,Crème\n".encode() + b"3,caf\xe9\n")
    assert titles(rows) == ["Amélie", "Crème", "café"] and "1 bytes are not UTF-8" in said


# Containers and shapes


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


# Headers, separators


def test_no_header_is_said_and_columns_may_be_named(put, rows):
    bare = STEPS.partition("\n")[2]
    with pytest.raises(InputError, match=r"no header: line 1 is a row, 'u0,0,1000000000'.*--columns"):
        put(GOODS, bare)
    put(GOODS, bare, of_interactions=Words(columns=("user", "item", "time")))
    assert rows("SELECT count(*) FROM interactions") == [(24,)]
    with pytest.raises(InputError, match="--columns names 2 columns, but the first row has 3"):
        put(GOODS, bare, of_interactions=Words(columns=("user", "item")))
    with pytest.raises(InputError, match="this one has a header"):
        put(GOODS, STEPS, of_interactions=Words(columns=("user", "item", "time")))


def test_files_that_are_known_without_a_header(put, rows):
    film = "|".join(["1", "Café (1995)", "01-Jan-1995", "", "http://x", "0", "1", "1", *["0"] * 16])
    other = "|".join(["2", "Heat, a|film"[:4], "01-Jan-1995", "", "http://x", *["0"] * 18, "1"])
    said = put(
        f"{film}\n{other}\n".encode("latin-1"), "7\t1\t5\t881250949\n7\t2\t3\t881250950\n", names=("u.item", "u.data")
    )
    assert rows("SELECT title, attributes FROM items ORDER BY rowid")[0] == (
        "Café (1995)", '{"release_date":"01-Jan-1995","imdb_url":"http://x","genres":["Action","Adventure"]}',
    )  # fmt: skip
    assert rows("SELECT user_id, item_id, rating FROM interactions ORDER BY id") == [("7", "1", 5.0), ("7", "2", 3.0)]
    assert "no header: the columns are taken as user_id, item_id, rating, timestamp" in said


def test_users_with_their_items_on_a_line(put, rows):
    put('1,"One, really"\n2,Two\n3,Three\n', "1 2 3\n2 1\n3 3 2 1\n", names=("x_title.csv", "train.txt"))
    assert rows("SELECT group_concat(item_id, '') FROM (SELECT * FROM interactions ORDER BY id) GROUP BY user_id") == [
        ("23",), ("1",), ("321",),
    ]  # fmt: skip
    with pytest.raises(InputError, match="no header"):  # a user, an item and a rating, more likely
        put(GOODS, "1 2 5\n2 1 4\n3 3 2\n", names=("items.csv", "train2.txt"))


def test_a_map_on_values_of_a_row_is_refused(put, rows):
    with pytest.raises(NoSuchColumn, match="no header; its columns are taken as: item_id, title"):
        put("1,One\n2,Two\n", mapping={"1": "item_id", "One": "title"})


@pytest.mark.parametrize("sign", [";", "|", "\t", "^", "~", "\x01", "::"])
def test_separators_whatever_the_name(put, rows, sign):
    put(GOODS.replace(",", sign), names=("items.tsv", "steps.csv"))
    assert len(titles(rows)) == 6 and put.done.rejected == 0


def test_a_header_with_a_separator_of_its_own(put, rows):
    head, _, body = STEPS.partition("\n")
    said = put(GOODS, f"{head}\n{body.replace(',', ';')}")
    assert put.done.interactions.new == 24 and "parted by ',', the rows by ';'" in said


def test_the_line_of_excel_that_names_the_separator(put, rows):
    put("sep=;\r\n" + GOODS.replace(",", ";").replace("\n", "\r\n"))
    assert len(titles(rows)) == 6 and put.done.rejected == 0


def test_backslashes_before_quotes(put, rows):
    lines = [
        r'"0";"A \"B\" c";"x"',
        r'"1";"A \"b\"; c";"x"',
        r'"2";"\"All\"";"x"',
        r'"3";"C:\";"x"',
        '"4";"a ""b""";"x"',
    ]
    put('"item_id";"title";"k"\n' + "\n".join(lines) + "\n")
    assert titles(rows) == ['A "B" c', 'A "b"; c', '"All"', "C:\\", 'a "b"']


# Ids


def test_the_ids_that_meet_are_taken_together(put, rows):
    goods = "SKU,ID,title\n" + "".join(f"S-{n},{n + 500},Good {n}\n" for n in range(6))
    steps = "user_id,asin,product_id\n" + "".join(f"u,A{n},{n + 500}\n" for n in range(6))
    said = put(goods, steps)
    assert rows("SELECT count(*) FROM interactions") == [(6,)]
    assert "Item ids are 'ID' in items.csv and 'product_id' in steps.csv: they meet in 100.0% of 6 rows." in said


def test_ids_of_unusual_names_are_found_by_their_values(put, rows):
    goods = "code,label,title\n" + "".join(f"K{n:03},x,Good {n}\n" for n in range(20))
    steps = "user,thing,weight\n" + "".join(f"u{n},K{n:03},1\n" for n in range(20))
    assert "'code' in items.csv and 'thing' in steps.csv" in put(goods, steps)
    assert rows("SELECT count(*) FROM interactions") == [(20,)]


def test_a_map_may_name_one_file(put, rows):
    goods = "SKU,ID,title\n" + "".join(f"S-{n},{n},Good {n}\n" for n in range(6))
    put(goods, "user,SKU,item\n" + "".join(f"u,{n},S-{n}\n" for n in range(5)), of_items=Words({"SKU": "item_id"}))
    assert rows("SELECT item_id FROM interactions ORDER BY id") == [(f"S-{n}",) for n in range(5)]


@pytest.mark.parametrize(("there", "here"), [("{}", "{}.0"), ("{}.0", "{}"), ("{:06}", "{}"), ("{}", "{:06}")])
def test_whole_numbers_meet_however_they_are_written(put, rows, there, here):
    goods = "item_id,title\n" + "".join(f"{there.format(n)},Good {n}\n" for n in range(100, 106))
    steps = "user_id,item_id\n" + "".join(f"{n}.0,{here.format(n)}\n" for n in range(100, 106)) + "7.0,\n"
    said = put(goods, steps)
    assert rows("SELECT user_id, item_id FROM interactions ORDER BY id") == [(str(n), str(n)) for n in range(100, 106)]
    assert "as whole numbers" in said and put.done.rejected == 1


def test_ids_that_look_like_numbers_stay_as_both_files_have_them(put, rows):
    put("item_id,title\n007,a\n7,b\n1.0,c\n", "user_id,item_id\nu,007\nu,7\nu,1.0\n")
    assert rows("SELECT item_id FROM interactions ORDER BY id") == [("007",), ("7",), ("1.0",)]


def test_ids_that_do_not_meet_at_all(put, rows):
    said = put(GOODS, "user_id,item_id\nu,zz1\nu,zz2\n")
    assert "No item id of 2 rows of steps.csv is among the items" in said and "'zz1'" in said and put.done.rejected == 2
    many = "user_id,item_id\n" + "".join(f"u,zz{n}\n" for n in range(1500))
    with pytest.raises(InputError, match="is among the items"):
        put(GOODS, many)


def test_items_that_the_workspace_has_already_count(put, rows):
    put(GOODS)
    said = put("item_id,title\nnew,New\n", STEPS.replace("u0", "v0"), names=("more.csv", "steps2.csv"))
    assert "among the items" not in said and put.done.rejected == 0


# Values


def test_entities_and_tags_and_words_for_nothing(put, rows):
    put(
        "item_id,title,text,empty\n0,Gintama&#039;: X,<p>A <b>b</b></p>,\\N\n"
        "1,Q &amp;quot;z&amp;quot; AT&T,a?b=1&copy=2,NaN\n2,None,x < y,None\n"
        "3,NULL,a,NULL\n4,NULL,b,\n5,x,&eacute;t&eacute;,nan\n"
    )
    assert rows("SELECT item_id, title, attributes FROM items ORDER BY rowid") == [
        ("0", "Gintama': X", '{"text":"A b"}'),
        ("1", 'Q "z" AT&T', '{"text":"a?b=1&copy=2"}'),
        ("5", "x", '{"text":"été"}'),
    ]
    assert rows("SELECT DISTINCT reason FROM rejects WHERE file LIKE '%items.csv' ORDER BY 1") == [
        ("title is empty (NULL)",), ("title is empty (None)",),
    ]  # fmt: skip


def test_a_film_that_is_called_none(put, rows):
    put(GOODS.replace("Good 3", "None"))
    assert "None" in titles(rows)


def test_users_that_are_nobody_are_rejects(put, rows):
    put(GOODS, "user_id,item_id\nNaN,1\n\\N,1\nNULL,1\nann,1\n")
    assert rows("SELECT user_id FROM interactions") == [("ann",)] and put.done.rejected == 3


def test_ratings_that_nobody_needs(put, rows):
    steps = "user_id,item_id,rating\n" + "".join(
        f'u,{n},"{r}"\n' for n, r in enumerate(["4,5", "\\N", "NaN", "good", "3"])
    )
    said = put(GOODS, steps)
    assert rows("SELECT rating FROM interactions ORDER BY id") == [(4.5,), (None,), (None,), (None,), (3.0,)]
    assert "1 ratings are no numbers" in said
    put(GOODS, steps.replace("u,", "v,"), min_rating=3.5)
    assert put.done.interactions.low_rated == 1 and put.done.rejected == 1


@pytest.mark.parametrize(("others", "dislikes"), [("5,8,10", 0), ("1,1,1", 1), ("-7,3,9", 2)])
def test_minus_one_is_no_rating_where_the_others_say_so(put, rows, others, dislikes):
    ratings = enumerate(["-1", *others.split(",")])
    said = put(GOODS, "user_id,item_id,rating\n" + "".join(f"u,{n},{r}\n" for n, r in ratings), min_rating=1)
    assert put.done.interactions.low_rated == dislikes
    assert ("read as not rated" in said) == (dislikes == 0)


@pytest.mark.parametrize("nothing", ["0001-01-01T00:00:00Z", "0000-00-00", "0000-00-00 00:00:00", "", "\\N", "NaT"])
def test_a_row_without_a_time_stays_and_comes_first(put, rows, nothing):
    said = put(GOODS, f"user_id,item_id,timestamp\nu,1,2020-01-02\nu,2,{nothing}\nu,3,2020-01-01\n")
    assert rows("SELECT item_id FROM interactions ORDER BY timestamp, id") == [("2",), ("3",), ("1",)]
    assert "1 rows have no time" in said


# Dates


@pytest.mark.parametrize(
    ("dates", "first", "said"),
    [
        (["3/4/2019", "13/4/2019"], "2019-04-03", "day first: 1 dates can be nothing else"),
        (["3/4/2019", "4/13/2019"], "2019-03-04", "month first: 1 dates can be nothing else"),
        (["3/4/2019", "4/4/2019"], "2019-03-04", "--day-first"),
        (["3.4.2019 23:59", "4.4.2019 0:00"], "2019-04-03", "--month-first"),
        (["3/4/2019 8:55:22 PM", *["5/6/2019"] * 20_000, "30/4/2019"], "2019-04-03", "day first: 1 dates"),
        (["3/4/2019", "30/4/2019", "29/4/2019", "4/28/2019"], "2019-04-03", "day first: 2 dates say so, 1 do not"),
    ],
)
def test_the_whole_column_says_what_comes_first(put, rows, dates, first, said):
    steps = "user_id,item_id,date\n" + "".join(f"u{n},{n % 6},{date}\n" for n, date in enumerate(dates))
    assert said in put(GOODS, steps)
    assert rows("SELECT substr(timestamp, 1, 10) FROM interactions WHERE user_id = 'u0'") == [(first,)]


def test_the_order_may_be_named(put, rows):
    put(GOODS, "user_id,item_id,date\nu,1,3/4/2019\n", day_first=True)
    assert rows("SELECT substr(timestamp, 1, 10) FROM interactions") == [("2019-04-03",)]


# More than one step in a row


def test_splits_of_recbole_hold_whole_histories(put, rows):
    items = "item_id:token\ttitle:token_seq\n" + "".join(f"{n}\tGood {n}\n" for n in range(10))
    truth = {"a": ["1", "2", "3", "4", "2"], "b": ["7", "8", "9"], "c": [str(n % 7) for n in range(12)]}
    lines = [
        f"{user}\t{' '.join(steps[max(0, n - 5) : n])}\t{steps[n]}"
        for user, steps in truth.items()
        for n in range(1, len(steps))
    ]
    head = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    put(items, head + "\n".join(lines) + "\n", names=("x.item", "x.train.inter"))
    found = {user: [] for user in truth}
    for user, item in rows("SELECT user_id, item_id FROM interactions ORDER BY user_id, id"):
        found[user].append(item)
    assert found == truth


def test_impressions_of_mind(put, rows):
    news = "".join(f'N{n}\tnews\tworld\tA "story" {n}\tAbstract\thttps://x\t[]\t[]\n' for n in range(1, 6))
    seen = (
        "1\tU1\t11/15/2019 8:55:22 AM\tN1 N2\tN3-0 N4-1\n"
        "2\tU1\t11/13/2019 9:00:00 PM\tN1 N2\tN5-1 N3-0\n"
        "3\tU2\t11/14/2019 7:01:48 AM\t\tN1-1\n"
        "4\tU3\t11/14/2019 7:01:48 AM\tN3\tN1-0\n"
    )
    put(news, seen, names=("news.tsv", "behaviors.tsv"))
    assert titles(rows)[0] == 'A "story" 1'
    ordered = "(SELECT * FROM interactions ORDER BY user_id, timestamp, id)"
    assert rows(f"SELECT user_id, group_concat(item_id, ' ') FROM {ordered} GROUP BY user_id") == [
        ("U1", "N1 N2 N5 N4"),
        ("U2", "N1"),
        ("U3", "N3"),
    ]
    assert rows("SELECT max(timestamp) FROM interactions") == [("2019-11-15T08:55:22+00:00",)]


@pytest.mark.parametrize("cell", ["[1, 2, 3]", "['1', '2', '3']", "1 2 3", "1,2,3", "1|2|3", "[1 2 3]"])
def test_lists_in_cells(put, rows, cell):
    put(GOODS, f'user_id,item_id\na,"{cell}"\nb,"{cell}"\n')
    assert rows("SELECT item_id FROM interactions WHERE user_id = 'b' ORDER BY id") == [("1",), ("2",), ("3",)]


def test_lists_with_their_times(put, rows):
    put(GOODS, '{"user": "a", "items": [1, 2], "time": ["2020-01-02", "2020-01-01"]}\n{"user": "b", "items": [3]}\n',
        names=("items.csv", "steps.jsonl"))  # fmt: skip
    assert rows("SELECT item_id, substr(timestamp, 1, 10) FROM interactions ORDER BY id") == [
        ("1", "2020-01-02"), ("2", "2020-01-01"), ("3", None),
    ]  # fmt: skip


def test_one_file_for_both(put, rows, tmp_path, workspace):
    lines = [f"u{n % 3},{n % 5},Song {n % 5},by {n % 5},{n},2020-01-{n + 1:02}" for n in range(20)]
    (tmp_path / "log.csv").write_text(
        "user,track_id,title,artist,price,date\n" + "\n".join([*lines, "u1,9,,x,1,2020-02-01"])
    )
    done = ingest(workspace, tmp_path / "log.csv", tmp_path / "log.csv")
    assert rows("SELECT item_id, title, attributes FROM items ORDER BY rowid")[1] == (
        "1",
        "Song 1",
        '{"artist":"by 1"}',
    )
    assert (done.items.new, done.interactions.new, done.rejected) == (5, 20, 1)


def test_variants_of_a_shop_are_no_rejects(put, rows):
    goods = "Handle,Title,SKU\na,Apple,1\na,,2\na,,3\nb,Bean,4\n,x,5\n"
    said = put(goods, "user_id,handle\nu,a\nu,b\n", mapping={"Handle": "item_id", "handle": "item_id"})
    assert (
        titles(rows) == ["Apple", "Bean"] and put.done.rejected == 1 and "2 rows have the id of the row before" in said
    )


# Pictures


def picture(path, colour="red", size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def images(rows, tmp_path):
    found = rows("SELECT item_id, image FROM items WHERE image IS NOT NULL ORDER BY item_id")
    return {item: image.removeprefix(f"{tmp_path}/") for item, image in found}


def test_pictures_in_nested_folders_and_named_ones_first(put, rows, tmp_path):
    for name in ("0/0.png", "0/1/1.png", "2.png", "other.png", "deep/er/named.png"):
        picture(tmp_path / "pictures" / name)
    put(
        "item_id,title,image\n0,a,\n1,b,gone.png\n2,c,other.png\n3,d,named.png\n4,e,nowhere.png\n5,f,\n",
        images=tmp_path / "pictures",
    )
    assert images(rows, tmp_path) == {
        "0": "pictures/0/0.png", "1": "pictures/0/1/1.png", "2": "pictures/other.png",
        "3": "pictures/deep/er/named.png",
    }  # fmt: skip
    assert put.done.images_rejected == 1


def test_a_folder_of_pictures_that_nothing_uses_is_said(put, tmp_path):
    picture(tmp_path / "pictures" / "unlike.png")
    assert "None of the 1 pictures in" in put(GOODS, images=tmp_path / "pictures")


def test_pictures_inside_parquet(put, rows, tmp_path):
    data = picture(tmp_path / "x.png").read_bytes()
    cells = [
        {"bytes": data, "path": None},
        {"bytes": data, "path": "a.png"},
        {"bytes": b"\xff\xfe broken", "path": None},
        None,
    ]
    table = pa.table({"item_id": range(4), "title": list("abcd"), "image": cells})
    parquet.write_table(table, tmp_path / "t.parquet")
    put((tmp_path / "t.parquet").read_bytes(), names=("goods.csv", "steps.csv"))
    assert (put.done.images, put.done.images_rejected) == (1, 1)  # two are the same
    assert rows("SELECT count(DISTINCT sha256) FROM images WHERE error IS NULL") == [(1,)]


def test_a_picture_that_goes_away_costs_itself(put, rows, tmp_path, monkeypatch):
    from msr_local.catalogue import ingest as module

    for name in "01":
        picture(tmp_path / "pictures" / f"{name}.png")
    look = module._look

    def late(path):
        if path.name == "0.png":
            path.unlink()
        return look(path)

    monkeypatch.setattr(module, "_look", late)
    put(GOODS, images=tmp_path / "pictures")
    assert (put.done.images, put.done.images_rejected) == (1, 1)


# Anything


odd = st.binary(max_size=120) | st.text("[]{}\",:\\ue1;\t|'\n -./None0", max_size=120).map(str.encode)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd, odd, st.booleans(), st.booleans())
def test_any_two_files_are_read_or_refused(put, rows, workspace, items, steps, good_items, good_steps):
    with contextlib.suppress(InputError):
        put(GOODS.encode() + items if good_items else items, STEPS.encode() + steps if good_steps else steps)
    assert workspace.check() == "ok" and not workspace.in_transaction


# Time


def test_it_gives_up_when_all_rows_fail_for_one_reason(put):
    with pytest.raises(InputError, match=r"the first 1,000 rows all fail for one reason: line 1001: row has 3 cells"):
        put("item_id,title\n" + "1,x,y\n" * 5000)


def test_many_rejects_take_no_time(put, rows):
    lines = [f"u{n % 50},{n % 6 if n % 3 else 'zz'},{10**9 + n if n % 5 else 'soon'}" for n in range(40_000)]
    start = time.process_time()
    put(GOODS, "user_id,item_id,timestamp\n" + "\n".join(lines) + "\n")
    assert time.process_time() - start < 20  # about a second; the rest is for slow machines
    assert put.done.rejected + put.done.interactions.new == 40_000


def test_dates_of_a_hundred_thousand_rows(put):
    pick = random.Random(1)
    lines = [
        f"u,{n % 6},{pick.randint(1, 12)}/{pick.randint(1, 28)}/2010 {pick.randint(0, 23)}:{pick.randint(0, 59):02}"
        for n in range(100_000)
    ]
    start = time.process_time()
    put(GOODS, "user_id,item_id,timestamp\n" + "\n".join(lines) + "\n")
    assert time.process_time() - start < 20
