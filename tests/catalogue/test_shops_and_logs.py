"""Exports of shops and public logs, through `ingest`: what is wrong or unused in them is said, not guessed."""

import gzip
import io
import os
import tarfile

import pytest
from kinds import GOODS, STEPS, titles

from msr_local.catalogue.ingest import Words
from msr_local.errors import InputError

# Which columns


def test_users_that_are_not_there_are_nobody(put, rows):
    steps = "userId;sessionId;itemId\n" + "".join(f"NA;s{n % 5};{n % 6}\n" for n in range(20))
    said = put(GOODS, steps)
    assert rows("SELECT count(DISTINCT user_id) FROM interactions") == [(5,)]
    assert "user_id is 'sessionId', because 'userId' has a usable value in 0% of the rows." in said


def test_one_user_that_is_not_there_is_a_reject(put, rows):
    put(GOODS, "user_id,item_id\nann,1\nNA,2\nbob,3\n")
    assert rows("SELECT user_id FROM interactions ORDER BY id") == [("ann",), ("bob",)]
    assert rows("SELECT line, reason FROM rejects") == [(3, "user_id is empty (NA)")]


def test_the_clock_alone_is_no_time_but_part_of_one(put, rows):
    steps = "date,time,user,item\n" + "".join(f"2020-03-0{9 - n},10:0{n},u,{n}\n" for n in range(6))
    said = put(GOODS, steps)
    assert rows("SELECT item_id FROM interactions ORDER BY timestamp")[0] == ("5",)
    assert "the times are the days of 'date' with the clock of 'time'" in said


def test_a_column_of_times_with_another_name_is_spoken_of(put):
    said = put(GOODS, "user,item,moment\n" + "".join(f"u{n},{n},2020-03-0{n + 1}\n" for n in range(6)))
    assert "no column of times" in said and "--map moment=timestamp" in said
    said = put(GOODS, "user,item,Day (UTC)\n" + "".join(f"u{n},{n},2020-03-0{n + 1}\n" for n in range(6)))
    assert '--map "Day (UTC)=timestamp"' in said
    assert "=timestamp" not in put(GOODS, "user,item,weight\n" + "".join(f"u{n},{n},159999999{n}\n" for n in range(6)))


@pytest.mark.parametrize(
    ("good", "user", "item", "time"),
    [
        ("article_id", "customer_id", "article_id", "t_dat"),  # H&M
        ("Product ID", "id_customer", "product_id", "date_add"),  # PrestaShop
        ("SKU", "Email (Billing)", "SKU", "Order Date"),  # WooCommerce
        ("Variant SKU", "Email", "Lineitem sku", "Created at"),  # Shopify
        ("item_id", "user_pseudo_id", "item_id", "event_timestamp"),  # Google Analytics
        ("Item ID", "Email Address", "Item ID", "Timestamp"),  # Google Forms
    ],
)
def test_the_columns_of_well_known_exports_need_no_map(put, rows, good, user, item, time):
    goods = f"{good},Name\n" + "".join(f"{n},Good {n}\n" for n in range(6))
    said = put(goods, f"row,{user},{item},{time}\n" + "".join(f"{n},u{n},{n},2020-01-0{n + 1}\n" for n in range(6)))
    assert rows("SELECT user_id, item_id, timestamp IS NOT NULL FROM interactions")[0] == ("u0", "0", 1)
    assert "Next" not in said and put.done.rejected == 0


def test_unused_columns_are_said_with_their_kinds_of_events(put):
    steps = "user,item,time,event\n" + "".join(
        f"u{n},{n % 6},{10**9 + n},{('view', 'buy')[n % 2]}\n" for n in range(20)
    )
    assert "not used: event (view, buy)." in put(GOODS, steps)


def test_times_that_nobody_can_read_need_not_cost_the_rows(put, rows):
    steps = "user,item,day\n" + "".join(f"u{n},{n},{n + 1}. août 2020\n" for n in range(6))
    said = put(GOODS, steps.replace("day", "date"))
    assert "nothing in 'date' can be read as a time, such as '1. août 2020'" in said and "--map date=ignore" in said
    assert put.done.interactions.rejected == 6
    put(GOODS, steps.replace("day", "date"), of_interactions=Words({"date": "ignore"}))
    assert rows("SELECT count(*) FROM interactions") == [(6,)]


@pytest.mark.parametrize("first", [43831, 2001, 5])
def test_numbers_that_are_no_times_of_today_are_said(put, rows, first):
    said = put(GOODS, "user,item,time\n" + "".join(f"u,{n},{first + n}\n" for n in range(6)))
    assert f"times like '{first}' are read as seconds since 1970" in said
    assert "are read as seconds" not in put(GOODS, STEPS, names=("items.csv", "others.csv"))


def test_a_number_of_the_order_is_no_item(put, rows):
    goods = "item_id,title\n" + "".join(f"{n},Good {n}\n" for n in range(40))
    steps = "order_id,customer,items\n" + "".join(f"{n},c{n % 4},two lamps\n" for n in range(50))
    said = put(goods, steps)
    assert "No item id of 50 rows" in said and rows("SELECT count(*) FROM interactions") == [(0,)]


def test_items_of_an_order_are_products_not_lines(put, rows):
    order = '{"customer": "ann", "items": [{"id": 901, "product_id": 2}, {"id": 902, "product_id": 4}]}\n'
    put(GOODS, order * 2, names=("items.csv", "orders.jsonl"))
    assert rows("SELECT DISTINCT item_id FROM interactions") == [("2",), ("4",)]


def test_nothing_is_kept_of_a_pair_that_cannot_be_used(put, rows):
    with pytest.raises(InputError, match=r"steps\.csv: found no column for user_id"):
        put(GOODS, "who,item_id\nann,1\n")
    assert rows("SELECT count(*) FROM items") == [(0,)]


def test_files_in_the_wrong_order_and_of_one_person_are_told_what_to_do(put):
    with pytest.raises(InputError, match="if these are the interactions, name the file of the items before"):
        put(STEPS, GOODS)
    with pytest.raises(InputError, match=r"if these are the items, name the file of the interactions after"):
        put(GOODS, GOODS)


def test_ids_in_other_letters_are_said(put, rows):
    goods = "sku,title\n" + "".join(f"AB-{n},Good {n}\n" for n in range(6))
    said = put(goods, "user,sku\n" + "".join(f"u,{'ab' if n % 2 else 'AB'}-{n}\n" for n in range(6)))
    assert "3 ids are others only by upper and lower case, as 'ab-1' is not 'AB-1'." in said
    assert rows("SELECT count(*) FROM interactions") == [(3,)]


def test_ids_that_a_spreadsheet_has_cut_are_rejects(put, rows):
    cut = "user,ean\nu,1.23457E+12\nu,4012345678901\n"
    put("ean,title\n1.23457E+12,cut\n4012345678901,1.5E+10\n", cut)
    assert rows("SELECT item_id, title FROM items") == [("4012345678901", "1.5E+10")]
    reasons = {reason for (reason,) in rows("SELECT reason FROM rejects")}
    assert reasons == {"item_id 1.23457E+12 is a number that a spreadsheet has cut: export the column as text"}


def test_ids_in_a_formula_are_the_ids(put, rows):
    put('item_id,title,isbn\n"=""001""",One,"=""0099"""\n="002",Two,=""\n', "user,item_id\nu,001\nu,002\n")
    assert rows("SELECT item_id, attributes FROM items ORDER BY 1") == [("001", '{"isbn":"0099"}'), ("002", "{}")]
    assert put.done.rejected == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_refused(put, tmp_path, workspace):
    from msr_local.catalogue.ingest import ingest

    (tmp_path / "items.csv").write_text(GOODS)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe or a device"):
        ingest(workspace, tmp_path / "items.csv", tmp_path / "pipe")


# Rows that go on


def test_an_order_over_several_rows_has_one_buyer(put, rows):
    steps = "Name,Email,Created at,sku\n#1,ann@x.org,2024-01-01,1\n#1,,2024-01-01,2\n#2,bob@x.org,2024-01-02,3\n"
    said = put(GOODS, steps + "#2,,2024-01-02,4\n#2,,2024-01-02,5\n")
    assert rows("SELECT user_id, count(*) FROM interactions GROUP BY 1") == [("ann@x.org", 2), ("bob@x.org", 3)]
    assert "rows without a user of their own: 3;" in said and put.done.rejected == 0


@pytest.mark.parametrize("buyer", ["", "ann@x.org"])
def test_an_order_over_several_rows_has_one_time(put, rows, buyer):
    steps = f"Name,Email,Created at,sku\n#1,ann@x.org,2024-01-02,1\n#1,{buyer},,2\n#2,ann@x.org,2024-01-01,3\n"
    said = put(GOODS, steps + f"#2,{buyer},,4\n#2,{buyer},,5\n#3,bob@x.org,2024-01-03,1\n")
    assert rows("SELECT item_id FROM interactions WHERE user_id LIKE 'ann%' ORDER BY timestamp, id") == [
        (item,) for item in "34512"
    ]
    assert "rows without a time of their own: 3;" in said and put.done.rejected == 0


@pytest.mark.parametrize("steps", ["#1,u,1,2024-01-02\n#1,u,2,2024-01-03\n#1,u,3,\n", "#1,u,1,2024-01-02\n#2,u,2,\n"])
def test_rows_without_a_time_have_none_where_nothing_joins_them(put, rows, steps):
    said = put(GOODS, f"order,user,item,date\n{steps}")
    assert "rows without a time: 1;" in said and "of their own" not in said


@pytest.mark.parametrize("first", ["d1", "d0"])
def test_rows_without_a_user_are_nobodys_where_nothing_joins_them(put, rows, first):
    put(GOODS, f"day,user,item\n{first},ann,1\n{first},,2\nd1,bob,3\nd1,,4\n" + "d2,,5\n" * (first == "d0"))
    assert put.done.interactions.rejected == 2 + (first == "d0")


def test_variants_have_the_title_of_their_product(put, rows):
    goods = (
        "Handle,Title,Type,Size,SKU\nlamp,Lamp,Light,S,L-S\nlamp,,,M,L-M\nlamp,,,,\nhat,Hat,Wear,S,H-S\nhat,,,M,H-M\n"
    )
    said = put(goods, "user,sku\nu,L-M\nu,H-M\nu,L-S\nu,H-S\n")
    assert rows("SELECT item_id, title FROM items WHERE item_id LIKE '%M'") == [("L-M", "Lamp"), ("H-M", "Hat")]
    assert '"Type":"Light","Size":"M"' in rows("SELECT attributes FROM items WHERE item_id = 'L-M'")[0][0]
    assert put.done.rejected == 0 and "rows without a title: 2;" in said and "neither an id nor a title: 1;" in said


@pytest.mark.parametrize("steps", ["user,item,time\nann,1,{0}\n,2,{0}\n", "user,item,time\nann,1,{0}\n,1,{1}\n"])
def test_a_time_or_an_item_joins_no_rows(put, steps):
    put(GOODS, steps.format("2020-01-01 10:00", "2020-01-02 10:00"))
    assert put.done.interactions.rejected == 1


# What stands above, and around


@pytest.mark.parametrize(
    "above", ["# made by x\n# 2020-01-01\n", "Products 2024,,\n\n", "Report\n", "List;;;\n1.2.2020\n"]
)
def test_lines_above_the_header(put, rows, above):
    said = put(above + GOODS, "# log\n" + STEPS)
    assert len(titles(rows)) == 6 and rows("SELECT count(*) FROM interactions") == [(24,)]
    assert (
        f"items.csv: the header is line {above.count(chr(10)) + 1}" in said
        and "steps.csv: the header is line 2" in said
    )
    assert put.done.rejected == 0


def test_rows_under_a_line_of_their_item(put):
    with pytest.raises(InputError, match=r"line 1, '1:', names the item of the rows under it.*awk"):
        put(GOODS, "1:\n30878,4,2005-12-26\n")


def test_a_file_in_a_file_of_several_kinds(put, rows):
    assert put(gzip.compress(gzip.compress(GOODS.encode())), names=("items.dat", "steps.csv")) is not None
    assert len(titles(rows)) == 6


def _tar(data: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("items.csv"), io.BytesIO(data))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_tar(b""), "a tar archive. Next: unpack it"),
        (gzip.compress(_tar(b""), mtime=0), "a tar archive. Next: unpack it"),
        (b"<table><tr><td>x</td></tr></table>", "a web page"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<rss/>', "XML. Next:"),
        (gzip.compress(GOODS.encode() * 500, mtime=0)[:-40], "the end of the file is missing"),
        (b"PK\x03\x04 and no more", "it cannot be unpacked"),
    ],
)
def test_what_is_no_table_is_called_by_its_name(put, data, said):
    with pytest.raises(InputError) as caught:
        put(data, names=("items.xls", "steps.csv"))
    assert said in str(caught.value)


def test_a_text_that_begins_like_an_orc_file(put, rows):
    put("ORCID,item_id,title\n7,1,Paper\n", "user,item_id\nu,1\n")
    assert titles(rows) == ["Paper"]


def test_parts_in_a_folder(put, tmp_path, workspace):
    from msr_local.catalogue.ingest import ingest

    (tmp_path / "parts").mkdir()
    (tmp_path / "items.csv").write_text(GOODS)
    with pytest.raises(InputError, match="ingest one after the other"):
        ingest(workspace, tmp_path / "items.csv", tmp_path / "parts")
