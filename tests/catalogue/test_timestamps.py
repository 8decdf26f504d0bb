from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.catalogue.timestamps import parse_timestamp


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_000_000_000, "2001-09-09T01:46:40+00:00"),
        ("1000000000", "2001-09-09T01:46:40+00:00"),
        (" 1000000000 ", "2001-09-09T01:46:40+00:00"),
        ("1000000000.0", "2001-09-09T01:46:40+00:00"),
        ("1e9", "2001-09-09T01:46:40+00:00"),
        (1_000_000_000.5, "2001-09-09T01:46:40.500000+00:00"),
        ("1000000000000", "2001-09-09T01:46:40+00:00"),
        (1_000_000_000_123, "2001-09-09T01:46:40.123000+00:00"),
        (1_000_000_000_123.5, "2001-09-09T01:46:40.123500+00:00"),
        (1_000_000_000_123_456, "2001-09-09T01:46:40.123456+00:00"),
        (1_000_000_000_123_456_789, "2001-09-09T01:46:40.123456+00:00"),
        (0, "1970-01-01T00:00:00+00:00"),
        ("-1", "1969-12-31T23:59:59+00:00"),
        ("-2208988800", "1900-01-01T00:00:00+00:00"),
        (-1_000_000_000_001, "1938-04-24T22:13:19.999000+00:00"),
        ("2001-09-09", "2001-09-09T00:00:00+00:00"),
        ("20231114", "2023-11-14T00:00:00+00:00"),
        (20231114, "2023-11-14T00:00:00+00:00"),
        ("20231114T101010Z", "2023-11-14T10:10:10+00:00"),
        ("20231344", "1970-08-23T03:49:04+00:00"),  # no date of the calendar: seconds
        ("2001-09-09 01:46", "2001-09-09T01:46:00+00:00"),
        ("2001-09-09T01:46:40Z", "2001-09-09T01:46:40+00:00"),
        ("2001-09-09 01:46:40 UTC", "2001-09-09T01:46:40+00:00"),
        ("2001-09-09 01:46:40.5", "2001-09-09T01:46:40.500000+00:00"),
        ("2001-09-09T01:46:40.123456789Z", "2001-09-09T01:46:40.123456+00:00"),
        ("2001-09-09T03:46:40+02:00", "2001-09-09T01:46:40+00:00"),
        ("2001-09-08T20:16:40-0530", "2001-09-09T01:46:40+00:00"),
        ("2001-09-09T03:46:40+02", "2001-09-09T01:46:40+00:00"),
        ("2001-01-01T00:30+01:00", "2000-12-31T23:30:00+00:00"),
        (date(2001, 9, 9), "2001-09-09T00:00:00+00:00"),
        (datetime(2001, 9, 9, 1, 46, 40), "2001-09-09T01:46:40+00:00"),
        (datetime(2001, 9, 9, 3, 46, 40, tzinfo=timezone(timedelta(hours=2))), "2001-09-09T01:46:40+00:00"),
        ("2200-12-31T23:59:59Z", "2200-12-31T23:59:59+00:00"),
    ],
)
def test_every_usual_shape(value, expected):
    assert parse_timestamp(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        (None, "empty"),
        ("yesterday", "neither"),
        ("13/13/2001", "calendar"),
        ("1_000_000_000", "neither"),
        ("nan", "neither"),
        (float("nan"), "neither"),
        (float("inf"), "neither"),
        (True, "neither"),
        ([], "neither"),
        ("²", "neither"),
        ("1" * 5000, "neither"),
        ("2001-02-30", "calendar"),
        ("2001-09-09T24:00:00", "calendar"),
        ("2001-09-09T01:00+99:00", "calendar"),
        ("0000-01-01", "calendar"),
        ("1899-12-31", "years"),
        ("2201-01-01", "years"),
        ("0001-01-01T00:00+12:00", "years"),
        ("9999-12-31T23:00-12:00", "years"),
        (-2_208_988_801, "years"),
        (7_289_654_400, "years"),
        (10**30, "years"),
        (1e300, "years"),
    ],
)
def test_refusals_say_why(value, reason):
    with pytest.raises(ValueError, match=reason):
        parse_timestamp(value)


moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 12, 31, 23, 59, 59, 999999))
zones = st.timezones() | st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def written(moment: datetime) -> str:
    return moment.isoformat() + "+00:00"


@given(moments)
def test_round_trip_of_datetimes(moment):
    assert parse_timestamp(moment) == written(moment)
    assert parse_timestamp(written(moment)) == written(moment)
    assert parse_timestamp(moment.isoformat(" ")) == written(moment)


@given(moments.filter(lambda moment: 1901 < moment.year < 2200), zones)
def test_round_trip_with_offsets(moment, zone):
    there = moment.replace(tzinfo=timezone.utc).astimezone(zone)
    assert parse_timestamp(there) == written(moment)
    if there.utcoffset().seconds % 60 == 0:  # ISO text has no seconds in an offset
        assert parse_timestamp(there.isoformat()) == written(moment)


@given(st.integers(-2_208_988_800, 7_289_654_399).filter(lambda n: not 19000101 <= n <= 22001231))
def test_round_trip_of_seconds(seconds):
    expected = written(datetime(1970, 1, 1) + timedelta(seconds=seconds))
    assert parse_timestamp(seconds) == parse_timestamp(str(seconds)) == parse_timestamp(float(seconds)) == expected


@given(moments.filter(lambda moment: abs(moment.year - 1970) > 4), st.sampled_from([10**3, 1, 10**-3]))
def test_round_trip_of_finer_units(moment, microseconds):
    count = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    whole = count // 1000 * 1000
    number = whole // 1000 if microseconds == 10**3 else whole if microseconds == 1 else whole * 1000
    assert parse_timestamp(number) == written(datetime(1970, 1, 1) + timedelta(microseconds=whole))


@given(st.text() | st.floats() | st.integers())
def test_anything_is_parsed_or_refused(value):
    try:
        assert parse_timestamp(value).endswith("+00:00")
    except ValueError as error:
        assert 0 < len(str(error)) < 60
