"""Files that were joined, or that other programs wrote in their own way: nothing of them is lost, nothing invented."""

import pytest
from kinds import STEPS, titles

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
