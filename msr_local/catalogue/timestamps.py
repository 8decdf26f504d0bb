"""Timestamps of every usual shape, made into one: ISO-8601 in UTC."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import date, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1)
_FIRST_SECOND = (datetime(1900, 1, 1) - _EPOCH) // timedelta(seconds=1)
_LAST_SECOND = (datetime(2201, 1, 1) - _EPOCH) // timedelta(seconds=1) - 1

_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{0,30})?([eE][+-]?\d{1,3})?", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?)?"
    r" ?(?:[Zz]|UTC|([+-]\d\d)(?::?(\d\d))?)?",
    re.ASCII,
)
_FIRST_COMPACT, _LAST_COMPACT = 19000101, 22001231
_UNREADABLE = "is neither an ISO date nor an epoch number"
_NO_SUCH_DATE = "is not a date of the calendar"
_OUT_OF_RANGE = "is outside the years 1900 to 2200"

# Looked up, not formatted: the clock is most of the cost of reading a plain interaction.
_MINUTES = tuple(f"T{hour:02}:{minute:02}:" for hour in range(24) for minute in range(60))
_SECONDS = tuple(f"{second:02}" for second in range(60))


def parse_timestamp(value: str | int | float | datetime | date) -> str:
    """`value` as ISO-8601 UTC: "2001-09-09T01:46:40+00:00", with a fraction of six digits where it is not zero.

    Numbers, also as text, count from 1970 in seconds, milliseconds, microseconds or nanoseconds, told apart
    by magnitude; but eight digits that make a date are one (20231114). Text may also be an ISO date, or date
    and time; what names no offset is UTC.

    Raises ValueError, its message a predicate ("is empty"), for all else and for years outside 1900 to 2200.
    """
    if isinstance(value, str):
        return _from_text(value.strip())
    if isinstance(value, datetime):
        return _render(value.replace(tzinfo=None) - _EPOCH - (value.utcoffset() or timedelta()))
    if isinstance(value, date):
        return _render(datetime(value.year, value.month, value.day) - _EPOCH)
    if isinstance(value, float):
        return _from_float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _from_integer(value)
    raise ValueError("is empty" if value is None else _UNREADABLE)


def _from_text(text: str) -> str:
    if text.isdecimal() and len(text) <= 30:
        return _from_integer(int(text))
    if number := _NUMBER.fullmatch(text):
        return _from_float(float(text)) if number[1] or number[2] else _from_integer(int(text))
    if iso := _ISO.fullmatch(text):
        return _from_iso(*iso.groups(default="0"))
    raise ValueError(_UNREADABLE if text else "is empty")


def _from_integer(number: int) -> str:
    if _FIRST_COMPACT <= number <= _LAST_COMPACT:  # 20231114 is a date, not a day in autumn 1970
        with suppress(ValueError):
            return _render(datetime(number // 10_000, number // 100 % 100, number % 100) - _EPOCH)
    size = abs(number)
    if size < 10**11:
        return _clock(number, 0)
    per_second = 10**3 if size < 10**14 else 10**6 if size < 10**17 else 10**9
    seconds, rest = divmod(number, per_second)
    return _clock(seconds, rest * 10**6 // per_second)


def _from_float(number: float) -> str:
    if not math.isfinite(number):
        raise ValueError(_UNREADABLE)
    if number.is_integer() or abs(number) >= 10**14:
        return _from_integer(int(number))
    return _render(timedelta(microseconds=round(number * (10**6 if abs(number) < 10**11 else 10**3))))


def _from_iso(
    year: str, month: str, day: str, hour: str, minute: str, second: str, fraction: str,
    offset_hours: str, offset_minutes: str,
) -> str:  # fmt: skip
    hours, minutes = int(offset_hours), int(offset_minutes)
    if abs(hours) > 23 or minutes > 59:
        raise ValueError(_NO_SUCH_DATE)
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
    except ValueError:
        raise ValueError(_NO_SUCH_DATE) from None
    microseconds = int(fraction[:6].ljust(6, "0"))
    offset = timedelta(hours=hours, minutes=-minutes if offset_hours.startswith("-") else minutes)
    return _render(moment - _EPOCH - offset + timedelta(microseconds=microseconds))


def _render(since_epoch: timedelta) -> str:
    return _clock(since_epoch.days * 86_400 + since_epoch.seconds, since_epoch.microseconds)


def _clock(seconds: int, microseconds: int) -> str:
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise ValueError(_OUT_OF_RANGE)
    day, second = divmod(seconds, 86_400)
    fraction = f".{microseconds:06}+00:00" if microseconds else "+00:00"  # "+" sorts before ".", "Z" would not
    return _day(day) + _MINUTES[second // 60] + _SECONDS[second % 60] + fraction


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return (_EPOCH + timedelta(days=number)).date().isoformat()
