"""Delimited text through the public readers: exactness on good files, and nothing lost on wild ones."""

import csv
import gzip
import io
import time

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from msr_local.catalogue.decoding import detect_encoding, open_text
from msr_local.catalogue.delimited import first_line, numbered, read_records, split_header
from msr_local.catalogue.fields import MISSING, bare
from msr_local.catalogue.readers import read_interactions, read_items
from msr_local.errors import InputError
from msr_local.store.rows import InteractionRow, ItemRow, Rejected
from msr_local.text import storable
from msr_local.values import is_markup

NEVER_CLOSED = "a quote opened here is never closed"
fast = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def items(tmp_path, data, name="items.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read_items(path, {}))


def titles(rows):
    return [(row.line, row.item_id, row.title) for row in rows if isinstance(row, ItemRow)]


def rejects(rows):
    return [(row.line, row.reason, row.raw) for row in rows if isinstance(row, Rejected)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv"), ("|", "a.txt")])
def test_delimiters_and_line_ends(tmp_path, delimiter, name, end):
    table = [["item_id", "title", "year"], ["1", "Alien", "1979"], ["2", "Brazil", ""]]
    rows = items(tmp_path, end.join(delimiter.join(row) for row in table), name)
    assert rows == [ItemRow(2, "1", "Alien", {"year": "1979"}, None), ItemRow(3, "2", "Brazil", {}, None)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_encodings(tmp_path, encoding):
    rows = items(tmp_path, "item_id,title\r\né1,Amélie à Nîmes\r\n2,Ö\r\n".encode(encoding))
    assert titles(rows) == [(2, "é1", "Amélie à Nîmes"), (3, "2", "Ö")]


def test_utf16_big_endian(tmp_path):
    assert titles(items(tmp_path, b"\xfe\xff" + "item_id,title\n1,Ö\n".encode("utf-16-be"))) == [(2, "1", "Ö")]


def test_cp1252_with_undefined_bytes(tmp_path):
    assert titles(items(tmp_path, b"item_id,title\n1,\x80 \x93x\x94 \x81\xe9\n")) == [(2, "1", "€ “x” \x81é")]


def test_one_stray_byte_does_not_garble_the_others(tmp_path):
    assert titles(items(tmp_path, "item_id,title\n1,Amélie\n".encode() + b"2,\xe9t\xe9\n")) == [
        (2, "1", "Amélie"),
        (3, "2", "été"),
    ]


def test_gzip(tmp_path):
    assert titles(items(tmp_path, gzip.compress(b"item_id,title\n1,Alien\n"), "items.csv.gz")) == [(2, "1", "Alien")]


@pytest.mark.parametrize("data", [b"no gzip at all", gzip.compress(b"item_id,title\n" * 5000, mtime=0)[:-20]])
def test_broken_gzip(tmp_path, data):
    with pytest.raises(InputError, match=r"items\.csv\.gz"):
        items(tmp_path, data, "items.csv.gz")


def test_quoted_newlines_keep_the_first_line_number(tmp_path):
    rows = items(tmp_path, 'item_id,title,plot\n1,Alien,"in\n\nspace, ""no one"""\n2,Brazil,x\n')
    assert titles(rows) == [(2, "1", "Alien"), (5, "2", "Brazil")]
    assert rows[0].attributes == {"plot": 'in\n\nspace, "no one"'}


def test_quoted_newline_in_the_header(tmp_path):
    assert titles(items(tmp_path, '"item\nid",title\n1,Alien\n')) == [(3, "1", "Alien")]


def test_blank_lines_are_skipped_and_counted(tmp_path):
    assert titles(items(tmp_path, "\n\nitem_id,title\n\n  \n1,Alien\n\n2,Brazil")) == [
        (6, "1", "Alien"),
        (8, "2", "Brazil"),
    ]


@pytest.mark.parametrize("sign", [",", ";", "\t", "|", "::"])
def test_rows_without_anything_in_them_are_blank(tmp_path, sign):
    blank = [sign, sign * 2 + " ", " " + sign * 5, sign * 2]
    text = "\r\n".join([f"item_id{sign}title{sign}", f"1{sign}Alien{sign}", *blank, f"{sign}Brazil", ""])
    rows = items(tmp_path, text)
    assert titles(rows) == [(2, "1", "Alien")]
    assert rejects(rows) == [(7, "item_id is empty", f"{sign}Brazil")]


def test_a_lone_carriage_return_is_text_where_lines_end_otherwise(tmp_path):
    assert titles(items(tmp_path, "item_id,title,x\n1,Al\rien,x\n")) == [(2, "1", "Al\rien")]
    assert titles(items(tmp_path, "item_id,title,x\r1,Al\nien,x\r")) == [(2, "1", "Al\nien")]


def test_nul_bytes_and_huge_cells(tmp_path):
    rows = items(tmp_path, "item_id,title,plot\n1\0,Al\0ien,x\n2,Brazil," + "y" * 300_000 + "\n")
    assert titles(rows) == [(2, "1\ufffd", "Al\ufffdien"), (3, "2", "Brazil")]
    assert len(rows[1].attributes["plot"]) == 300_000


def test_too_many_cells(tmp_path):
    wide = ",".join(map(str, range(300)))
    rows = items(tmp_path, f"item_id,title,a,b\n{wide}\n1,Alien\n")
    assert rejects(rows) == [(2, "row has 300 cells, the header has 4", wide)]
    assert titles(rows) == [(3, "1", "Alien")]


def test_extra_cells_that_are_empty_do_no_harm(tmp_path):
    assert titles(items(tmp_path, "item_id,title\n1,Alien,,\n")) == [(2, "1", "Alien")]


def test_raw_is_capped(tmp_path):
    assert len(rejects(items(tmp_path, "item_id,title\n" + "x," * 50_000 + "x\n"))[0][2]) == 10_000


@pytest.mark.parametrize(
    "broken",
    [
        '1,"Alien,horror',
        '"1,Alien,horror',
        '1,Alien,"',
        '1,"Alien"s,"horror',
        '1,"""Alien,horror',
    ],
)
@pytest.mark.parametrize("lines_after", [1, 3, 3000])
def test_a_quote_never_closed_loses_its_own_line(tmp_path, broken, lines_after):
    after = [f"{number},Brazil,comedy" for number in range(lines_after)]
    rows = items(tmp_path, "\n".join(["item_id,title,genre", "0,Cube,x", broken, *after]))
    assert rejects(rows) == [(3, NEVER_CLOSED, broken)]
    assert len(titles(rows)) == 1 + lines_after


def test_a_quote_never_closed_before_quoted_rows(tmp_path):
    rows = items(tmp_path, 'item_id,title\n1,"Alien\n2,"Brazil"\n3,"Cube, the\nmovie"\n')
    assert rejects(rows) == [(2, NEVER_CLOSED, '1,"Alien')]
    assert titles(rows) == [(3, "2", "Brazil"), (4, "3", "Cube, the\nmovie")]


def test_many_quotes_never_closed_take_no_time(tmp_path):
    start = time.perf_counter()
    rows = items(tmp_path, "item_id,title,a,b,c\n0,Good\n" + 'a","b\n' * 20_000 + '1,"x\n' * 20_000)
    assert len(rejects(rows)) > 30_000
    assert time.perf_counter() - start < 8


def test_a_malformed_line_is_read_as_well_as_can_be(tmp_path):
    rows = items(tmp_path, 'item_id,title\n1,"The "Thing""\n2,5" disk\n3,"Cube" \n')
    assert titles(rows) == [(2, "1", 'The Thing""'), (3, "2", '5" disk'), (4, "3", "Cube")]


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ('1\t"Alien', '"Alien'),
        ('1\t"Alien" is back', '"Alien" is back'),
        ('1\t12" single', '12" single'),
        ('1\t"a ""quoted"" one"', 'a "quoted" one'),
    ],
)
def test_quotes_in_tab_separated_text_are_mostly_literal(tmp_path, line, title):
    rows = items(tmp_path, f'item_id\ttitle\n{line}\n2\tThe 12"\n3\tCube\n', "items.tsv")
    assert titles(rows) == [(2, "1", title), (3, "2", 'The 12"'), (4, "3", "Cube")]


def test_missing_values_are_named(tmp_path):
    rows = items(tmp_path, "item_id,title\n ,Alien\n2,\n3\n")
    assert [row.reason for row in rows] == ["item_id is empty", "title is empty", "title is empty"]
    assert [row.line for row in rows] == [2, 3, 4]


@pytest.mark.parametrize("data", ["", "\n \n", "\ufeff"])
def test_an_empty_file(tmp_path, data):
    with pytest.raises(InputError, match=r"items\.csv: the file is empty"):
        items(tmp_path, data)


def test_a_header_without_the_columns(tmp_path):
    with pytest.raises(InputError, match=r"(?s)items\.csv.*title.*colour, size.*--map COLUMN=item_id"):
        items(tmp_path, "colour,size\nred,1\n")


def test_a_header_alone_is_no_rows(tmp_path):
    assert items(tmp_path, "item_id,title") == []


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.text(
    'a,;\t"\r\n ', max_size=8
)
cell = cell.filter(
    lambda text: text.strip() not in MISSING - {""} and bare(text.strip()) == text.strip() and not is_markup(text)
)
identifiers = st.text("abc 1\"',;é", min_size=1, max_size=6).map(str.strip).filter(bool)


@fast
@given(
    table=st.lists(st.tuples(identifiers, cell, cell), max_size=8),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_what_csv_writes_is_read_back(tmp_path, table, delimiter, end, quoting):
    if delimiter == "\t":  # lines that are whole rows without their quotes are taken as such
        table = [tuple(text.replace("\t", " ") for text in row) for row in table]
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([("item_id", "title", "plot"), *table])
    rows = items(tmp_path, file.getvalue(), "t.tsv" if delimiter == "\t" else "t.csv")
    assert len(rows) == len(table)
    for row, (item_id, title, plot) in zip(rows, table, strict=True):
        if isinstance(row, ItemRow) and not title.strip():
            assert row.item_id == item_id  # a variant of the item above
        elif title.strip():
            assert (row.item_id, row.title) == (item_id, title.strip())
            assert row.attributes == ({"plot": plot.strip()} if plot.strip() else {})
        else:
            assert row.reason == "title is empty"


@fast
@given(
    body=st.binary(max_size=400) | st.text('a,"\n\r\t;é', max_size=200).map(str.encode),
    name=st.sampled_from(["t.csv", "t.tsv"]),
)
def test_every_line_of_any_file_is_in_one_row_or_reject(tmp_path, body, name):
    header = "item_id,title,plot\n" if name == "t.csv" else "item_id\ttitle\tplot\n"
    (tmp_path / name).write_bytes(header.encode() + body)
    assume(not detect_encoding(tmp_path / name).name.startswith("utf-16-"))  # so few bytes with a zero may be
    rows = list(read_items(tmp_path / name, {}))
    with open_text(tmp_path / name) as text:
        whole = storable(text.read())
    with open_text(tmp_path / name) as text:
        lines = numbered(text)
        columns, delimiter = split_header(first_line(lines)[1], lines, None)
        found = list(read_records(lines, tuple(columns), delimiter))
    texts = [record.raw if isinstance(record, Rejected) else record[3] for record in found]
    assert [text for text in texts if not text.strip()] == []
    # Lines of delimiters alone are blank.
    kept, there = ("".join("".join(one).replace(delimiter, "").split()) for one in (texts, whole.removeprefix(header)))
    assert kept == there
    numbers = [record.line if isinstance(record, Rejected) else record[0] for record in found]
    assert numbers == sorted(set(numbers))
    bare = {number for number, one in zip(numbers, texts, strict=True) if not one.strip(",;:|\t\r\n ")}
    assert [row.line for row in rows if row.line not in bare] == [number for number in numbers if number not in bare]
    source = io.StringIO(whole, newline="\n").readlines()
    for number, content in zip(numbers, texts, strict=True):
        assert content.startswith(source[number - 1].rstrip("\r\n"))


junk = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters='"\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029'), max_size=30
)


@fast
@given(st.lists(junk, max_size=12))
def test_good_rows_between_junk_are_found(tmp_path, lines):
    body = "".join(f"{line}\ngood{number},Title {number}\n" for number, line in enumerate(lines))
    found = {row.item_id: row for row in items(tmp_path, "item_id,title\n" + body) if isinstance(row, ItemRow)}
    for number in range(len(lines)):
        assert found[f"good{number}"].title == f"Title {number}"
        assert found[f"good{number}"].line == 3 + 2 * number


@fast
@given(
    st.lists(st.sampled_from(['1,"x', 'x,"a""', '"', '"x,y"z,"', "1,a", '2,"b"', 'a","b', "", '"",""']), max_size=30)
)
def test_good_rows_between_wild_quotes_are_found(tmp_path, lines):
    body = "\n".join([*lines, 'last,"one"'])
    assert titles(items(tmp_path, "item_id,title\n" + body))[-1][1:] == ("last", "one")


def test_interactions(tmp_path):
    path = tmp_path / "i.csv"
    path.write_text(
        "user,item,rating,timestamp,comment\n"
        "u1, a b/ü🎬 ,4.5,1000000000,x\n"
        "u1,a,,2001-09-09\n"
        "u1,a,NaN,1000000000\n"
        "u1,a,good,1000000000\n"
        "u1,a,5,\n"
        "u1,a,5,soon\n"
        ",a,5,1000000000\n"
        "u1,,5,1000000000\n",
        encoding="utf-8",
    )
    assert list(read_interactions(path, {})) == [
        InteractionRow(2, "u1", "a b/ü🎬", "2001-09-09T01:46:40+00:00", 4.5),
        InteractionRow(3, "u1", "a", "2001-09-09T00:00:00+00:00", None),
        InteractionRow(4, "u1", "a", "2001-09-09T01:46:40+00:00", None),
        InteractionRow(5, "u1", "a", "2001-09-09T01:46:40+00:00", None),
        InteractionRow(6, "u1", "a", None, 5.0),
        Rejected(7, "timestamp 'soon' is neither a date nor an epoch number", "u1,a,5,soon"),
        Rejected(8, "user_id is empty", ",a,5,1000000000"),
        Rejected(9, "item_id is empty", "u1,,5,1000000000"),
    ]


def test_interactions_without_time_or_rating(tmp_path):
    path = tmp_path / "i.csv"
    path.write_text("user_id,item_id\nu,a\nu,b\n")
    assert list(read_interactions(path, {})) == [
        InteractionRow(2, "u", "a", None, None),
        InteractionRow(3, "u", "b", None, None),
    ]


def test_a_million_interactions_would_take_seconds(tmp_path):
    path = tmp_path / "i.csv"
    count = 100_000
    path.write_text("user_id,item_id,rating,timestamp\n" + "".join(f"u{n},i{n},4,{10**9 + n}\n" for n in range(count)))
    start = time.perf_counter()
    assert sum(1 for _ in read_interactions(path, {})) == count
    assert time.perf_counter() - start < 5  # about 0.3 s; the rest is for slow machines
