"""Headers and separators as people have them, through `ingest`."""

import pytest
from kinds import GOODS, STEPS, titles

from msr_local.catalogue.ingest import Words
from msr_local.errors import InputError, NoSuchColumn


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


def test_the_columns_of_one_file_with_both_are_named_once_wherever(put, rows):
    both = "".join(f"u{n % 3}\t{n}\tGüter {n}\n" for n in range(6)).encode("utf-16-le")
    words, names = Words(columns=("user", "item", "title"), encoding="utf-16-le"), ("both.tsv", "both.tsv")
    for given in ({"of_items": words}, {"of_interactions": words}, {"of_items": words, "of_interactions": words}):
        put(both, both, names=names, **given)
        assert titles(rows) == [f"Güter {n}" for n in range(6)]
        assert rows("SELECT count(*) FROM interactions") == [(6,)]
    with pytest.raises(InputError, match="one file, of which two things are said"):
        put(both, both, names=names, of_items=Words(columns=("", "item", "title")), of_interactions=words)


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
