"""Files as people have them, through `ingest`: what becomes of them, and what is said."""

import contextlib
import hashlib
import random
import time
from base64 import b64encode

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds import GOODS, STEPS, titles
from PIL import Image
from pyarrow import parquet

from msr_local.catalogue.ingest import Words, ingest
from msr_local.errors import InputError

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
    assert "ratings that are no numbers: 1;" in said
    put(GOODS, steps.replace("u,", "v,"), min_rating=3.5)
    assert put.done.interactions.low_rated == 1 and put.done.rejected == 1


@pytest.mark.parametrize(("others", "dislikes"), [("5,8,10", 0), ("1,1,1", 1), ("-7,3,9", 2)])
def test_minus_one_is_no_rating_where_the_others_say_so(put, rows, others, dislikes):
    ratings = enumerate(["-1", *others.split(",")])
    said = put(GOODS, "user_id,item_id,rating\n" + "".join(f"u,{n},{r}\n" for n, r in ratings), min_rating=1)
    assert put.done.interactions.low_rated == dislikes
    assert ("read as not rated" in said) == (dislikes == 0)


@pytest.mark.parametrize(
    "nothing", ["0001-01-01T00:00:00Z", "0000-00-00", "0000-00-00 00:00:00", "", "\\N", "NaT", "-62135596800"]
)
def test_a_row_without_a_time_stays_and_comes_first(put, rows, nothing):
    said = put(GOODS, f"user_id,item_id,timestamp\nu,1,2020-01-02\nu,2,{nothing}\nu,3,2020-01-01\n")
    assert rows("SELECT item_id FROM interactions ORDER BY timestamp, id") == [("2",), ("3",), ("1",)]
    assert "rows without a time: 1;" in said


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
    said: list[str] = []
    done = ingest(workspace, tmp_path / "log.csv", tmp_path / "log.csv", tell=said.append)
    assert "log.csv: columns that change from row to row of one item: 1; they count for nothing: price." in said
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
        titles(rows) == ["Apple", "Bean"]
        and put.done.rejected == 1
        and "rows with the id of the row before and no title: 2;" in said
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


@pytest.mark.parametrize(
    "named",
    ["['a b.png', 'x.png']", '["a b.png"]', "gone.png|a b.png", "gone.png, a b.png", "A B.PNG", "a b", "data"]
    + [f"https://shop.example/img/a{blank}b.png{query}" for blank in (" ", "%20") for query in ("", "?w=300&h=10,20")],
)
def test_a_picture_is_found_by_what_rows_call_it(put, rows, tmp_path, named):
    data = picture(tmp_path / "pictures" / "deep" / "a b.png").read_bytes()
    picture(tmp_path / "pictures" / "20.png")
    named = f"data:image/png;base64,{b64encode(data).decode()}" if named == "data" else named
    quoted = named.replace('"', '""')
    put(f'item_id,title,image\n0,a,"{quoted}"\n1,b,\n', images=tmp_path / "pictures")
    assert len(images(rows, tmp_path)) == 1 and put.done.images_rejected == 0
    assert rows("SELECT sha256 FROM images WHERE error IS NULL") == [(hashlib.sha256(data).hexdigest(),)]


def test_an_address_is_no_name_of_an_item(put, rows, tmp_path):
    for name in ("20", "42"):
        picture(tmp_path / "pictures" / f"{name}.png")
    put(
        'item_id,title,image\n0,a,"https://x.example/y?crop=10,20"\n1,b,https://x.example/42\n',
        images=tmp_path / "pictures",
    )
    assert images(rows, tmp_path) == {} and put.done.images_rejected == 2


def test_pictures_of_numbers_with_zeros_before_them(put, rows, tmp_path):
    for name in ("0108000", "0108001", "108001"):
        picture(tmp_path / "pictures" / "010" / f"{name}.png")
    put("item_id,title\n108000,a\n108001,b\n0108001,c\n", images=tmp_path / "pictures")
    assert images(rows, tmp_path) == {
        "108000": "pictures/010/0108000.png", "108001": "pictures/010/108001.png",
        "0108001": "pictures/010/0108001.png",
    }  # fmt: skip


def test_pictures_in_other_letters_than_the_ids(put, rows, tmp_path):
    for name in ("ab-01.PNG", "AB-02.png", "small/ab-02.png", "Straße.png"):
        picture(tmp_path / "pictures" / name)
    put("item_id,title\nAB-01,a\nAB-02,b\nab-02,c\nSTRASSE,d\nAB-1,e\n", images=tmp_path / "pictures")
    assert images(rows, tmp_path) == {
        "AB-01": "pictures/ab-01.PNG", "AB-02": "pictures/AB-02.png", "ab-02": "pictures/small/ab-02.png",
        "STRASSE": "pictures/Straße.png",
    }  # fmt: skip


def test_pictures_that_cannot_be_told_apart_or_read_are_said(put, rows, tmp_path):
    for name in ("hats/0.png", "shoes/0.png", "hats/1.png"):
        picture(tmp_path / "pictures" / name)
    for name in ("2.heic", "3.HEIC", "4.svg"):
        (tmp_path / "pictures" / name).write_bytes(b"x")
    said = put(GOODS, images=tmp_path / "pictures")
    assert "1 names of pictures, such as '0.png', stand in several folders" in said
    assert "not read: 2 .heic, 1 .svg." in said


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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_a_repeat_without_a_time_in_another_file_is_told(put, rows):
    assert "without a time" not in put(GOODS, "user_id,item_id\nu,1\nu,2\nu,1\n")
    assert "without a time" not in put(GOODS, "user_id,item_id\nu,1\nu,2\nu,1\nu,4\n")  # the file has grown
    said = put(GOODS, "user_id,item_id\nu,2\nu,3\n", names=("items.csv", "february.csv"))
    assert "february.csv: 1 rows without a time" in said and "They count once" in said
    taken = rows("SELECT item_id FROM interactions ORDER BY id")
    assert taken == [("1",), ("2",), ("1",), ("4",), ("3",)]
