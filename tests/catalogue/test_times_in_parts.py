"""Times as people split, shorten or cut them."""

import datetime

import pyarrow as pa
import pytest
from kinds import GOODS
from pyarrow import parquet

from msr_local.catalogue.timestamps import parse_timestamp

CLOCKS = ["23:05", "9:15:30", "00:30"]


def log(*cells, head="date,time"):
    return f"user_id,item_id,{head}\n" + "".join(f"u,{n},{one}\n" for n, one in enumerate(cells))


def moments(rows):
    return [moment[:19] for (moment,) in rows("SELECT timestamp FROM interactions ORDER BY item_id")]


@pytest.mark.parametrize("day", ["2019-03-01", "2019-03-01 00:00:00", "20190301", "1 March 2019", "01.03.2019"])
def test_a_day_and_its_clock_in_two_columns_are_one_time(put, rows, day):
    said = put(GOODS, log(*(f"{day},{clock}" for clock in CLOCKS), f"{day},"))
    assert moments(rows) == [f"2019-03-01T{clock}" for clock in ("23:05:00", "09:15:30", "00:30:00", "00:00:00")]
    assert "the times are the days of 'date' with the clock of 'time'" in said and "not used" not in said


def test_a_clock_of_twelve_hours_in_a_column_of_its_own(put, rows):
    put(GOODS, log("3/14/2019,1:05 PM", "3/14/2019,12:05 am", head="Order Date,Order Time"))
    assert moments(rows) == ["2019-03-14T13:05:00", "2019-03-14T00:05:00"]


def test_a_day_and_a_clock_in_parquet(put, rows, tmp_path):
    days, clocks = [datetime.date(2019, 3, 1)] * 2, [datetime.time(18, 30), datetime.time(7)]
    parquet.write_table(
        pa.table({"user": ["u", "u"], "item": ["0", "1"], "date": days, "time": clocks}), tmp_path / "x"
    )
    put(GOODS, (tmp_path / "x").read_bytes(), names=("items.csv", "log.parquet"))
    assert moments(rows) == ["2019-03-01T18:30:00", "2019-03-01T07:00:00"]


@pytest.mark.parametrize(
    ("head", "cells"),
    [
        ("date,length", "2019-03-01,02:10"),  # a duration is no clock
        ("date,time", "2019-03-01 10:00,02:10"),  # the date has one
        ("date,time", "1551398400,02:10"),
    ],
)
def test_what_is_no_clock_of_a_day_changes_nothing(put, rows, head, cells):
    assert "the clock of" not in put(GOODS, log(cells, head=head))
    assert put.done.rejected == 0 and "02:10" not in moments(rows)[0]


@pytest.mark.parametrize("sign", "-/.")
def test_short_dates_may_begin_with_their_year(put, rows, sign):
    days = [f"{year}{sign}03{sign}{day:02}" for year in (18, 19) for day in range(9, 31)]
    said = put(GOODS, "user,item,date\n" + "".join(f"u,{n % 6},{day} 10:00\n" for n, day in enumerate(days)))
    assert rows("SELECT min(timestamp), max(timestamp) FROM interactions") == [
        ("2018-03-09T10:00:00+00:00", "2019-03-30T10:00:00+00:00")
    ]
    assert f"dates like '18{sign}03{sign}09 10:00' are read year first: 2018" in said


def test_short_dates_that_begin_with_their_day(put, rows):
    put(GOODS, "user,item,date\n" + "".join(f"u,{n % 6},{13 + n % 15}-03-{18 + n % 2}\n" for n in range(30)))
    assert rows("SELECT min(timestamp) FROM interactions") == [("2018-03-13T00:00:00+00:00",)]


def test_the_user_knows_better_where_short_dates_begin(put, rows):
    said = put(GOODS, "user,item,date\nu,0,19-03-14\nu,1,19-03-15\n", day_first=True)
    assert "year first" not in said
    assert moments(rows) == ["2014-03-19T00:00:00", "2015-03-19T00:00:00"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2019-03-01 12:00:00 America/New_York", "2019-03-01T17:00:00"),
        ("2019-07-01 12:00 America/New_York", "2019-07-01T16:00:00"),
        ("1 July 2019 3:30 PM Asia/Kolkata", "2019-07-01T10:00:00"),
        ("2019-03-01 12:00 America/Argentina/Buenos_Aires", "2019-03-01T15:00:00"),
        ("2019-03-01T12:00:00+01:00[Europe/Paris]", "2019-03-01T11:00:00"),
        ("2019-03-01T12:00:00Z[UTC]", "2019-03-01T12:00:00"),
        ("2019年3月1日", "2019-03-01T00:00:00"),
        ("2019 年 12 月 31 日 15:30", "2019-12-31T15:30:00"),
        ("2019년 3월 1일 07:05:09", "2019-03-01T07:05:09"),
        ("10/Oct/2019:13:55:36 -0700", "2019-10-10T20:55:36"),
    ],
)
def test_zones_by_name_and_other_ways_to_write_a_moment(text, moment):
    assert parse_timestamp(text)[:19] == moment


@pytest.mark.parametrize(
    "text",
    [
        "2019-03-01 12:00 Moon/Crater", "2019-03-01 America/../../etc/passwd", "2019-03-01 12:00 America/Indiana",
        "2019年13月1日", "2019-03-01 [x] y", "2019-03-01T12:00:00[Europe/Paris]",
        "America/New_York", "下午 2019年3月1日 3:30", "2201-01-01 00:00 Africa/Cairo",
    ],
)  # fmt: skip
def test_zones_and_dates_that_there_are_not(text):
    with pytest.raises(ValueError, match=r"^is "):
        parse_timestamp(text)
