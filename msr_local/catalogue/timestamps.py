"""Timestamps of every usual shape, made into one: ISO-8601 in UTC."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

_EPOCH = datetime(1970, 1, 1)
_FIRST_SECOND = (datetime(1900, 1, 1) - _EPOCH) // timedelta(seconds=1)
_LAST_SECOND = (datetime(2201, 1, 1) - _EPOCH) // timedelta(seconds=1) - 1

_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{0,30})?([eE][+-]?\d{1,3})?", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[Tt ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?)?)?"
    r" ?(?:[Zz]|UTC|([+-]\d\d)(?::?(\d\d))?)?",
    re.ASCII,
)
# What programs write where there is no time: the zero of Go and .NET, also as seconds, of MySQL, and the empty day.
_NO_TIME = re.compile(
    r"0001-01-01.*|0?1[/.]0?1[/.]0001.*|0000([-/.])00\1.*|00([-/.])00\2.*|-62135596800(000){0,3}(\.0)?", re.DOTALL
)
_FIRST_COMPACT, _LAST_COMPACT = 19000101, 22001231
_MINUTE_COMPACT, _SECOND_COMPACT = (1900_01_01_00_00, 2200_12_31_23_59), (1900_01_01_00_00_00, 2200_12_31_23_59_59)

_CLOCK = re.compile(
    r"(?<![\d:.+-])(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:\s*([AaPp])\.?[Mm]\b\.?)?(?![\d:])", re.ASCII
)
_NUMERIC_DAY = re.compile(r"(?<![\w:.+-])(\d{1,4})([/.-])(\d{1,2})\2(\d{4}|\d\d)(?!\d)", re.ASCII)
_MIDNIGHT = re.compile(r"[T ]0?0:00(:00(\.0+)?)?$", re.ASCII)
_OFFSET = re.compile(r"(?:[Zz]|UTC|GMT)?(?:([+-])(\d\d):?(\d\d))?", re.ASCII)
# Of the IANA database; Java says it in brackets, after the offset.
_ZONE = re.compile(
    r"(?:(?<=Z)|(?<=[+-]\d\d:\d\d))\[[A-Za-z][\w/+-]*\]$|\s+([A-Z][A-Za-z]+(?:/[\w+-]+){1,2})$", re.ASCII
)
_HAN_DAY = re.compile(r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日号號일]\s*")
_LOG_DAY = re.compile(r"^\[?(\d{1,2}/[A-Z][a-z]{2}/\d{4}):(?=\d\d:)")  # of web servers
_MEANT_EAST = re.compile(r"\b(?:GMT|UTC)(?=[+-]\d)")  # GMT+0200 is two hours east; dateutil reads it as POSIX does
_LONGEST = 80  # characters of a date
_ZONES = {"UT": 0, "UTC": 0, "GMT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6,
          "PST": -8, "PDT": -7, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3,
          "JST": 9, "KST": 9}  # fmt: skip
_COMPACT = {12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_UNREADABLE = "is neither a date nor an epoch number"
_NO_SUCH_DATE = "is not a date of the calendar"
_OUT_OF_RANGE = "is outside the years 1900 to 2200"

# Looked up, not formatted: the clock is most of the cost of reading a plain interaction.
_MINUTES = tuple(f"T{hour:02}:{minute:02}:" for hour in range(24) for minute in range(60))
_SECONDS = tuple(f"{second:02}" for second in range(60))


def parse_timestamp(value: str | int | float | Decimal | datetime | date, *, day_first: bool | None = None) -> str:
    """`value` as ISO-8601 UTC: "2001-09-09T01:46:40+00:00", with a fraction of six digits where it is not zero.

    Numbers, also as text, count from 1970 in seconds, milliseconds, microseconds or nanoseconds, told apart
    by magnitude; but 8, 12 or 14 digits that make a date are one (20231114, 20231114101500). Text may also be an ISO
    date, or date and time, or whatever else dateutil reads as one whole day; what names no offset is UTC.
    `day_first` says what 3/4/2019 is; without it, the day where it is the only way, or where dots part it.

    Raises ValueError, its message a predicate ("is empty"), for all else and for years outside 1900 to 2200.
    """
    if isinstance(value, str):
        return _from_text(value.strip(), day_first)
    if isinstance(value, datetime):
        return _render(value.replace(tzinfo=None) - _EPOCH - (value.utcoffset() or timedelta()))
    if isinstance(value, date):
        return _render(datetime(value.year, value.month, value.day) - _EPOCH)
    if isinstance(value, float | Decimal):
        return _from_float(float(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return _from_integer(value)
    raise ValueError("is empty" if value is None else _UNREADABLE)


def is_no_time(value: object) -> bool:
    """Whether `value` is what programs write where there is no time: 0001-01-01T00:00:00Z, 0000-00-00."""
    if isinstance(value, datetime):
        return value.year == 1
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return text.startswith(("0", "1", "-62135596800")) and _NO_TIME.fullmatch(text) is not None


def day_order(value: object) -> str | None:
    """What the numbers of a date like 3/4/2019 can be: "day" or "month" first, or "either"; None for all else."""
    found = _NUMERIC_DAY.search(value) if isinstance(value, str) else None
    if found is None or len(found[1]) > 2:
        return None
    first, second = int(found[1]), int(found[3])
    return "day" if first > 12 >= second else "month" if second > 12 >= first else "either"


def is_day(value: object) -> bool:
    """Whether `value` is a date without a time of the day, or with 0:00; an epoch number is none."""
    if not isinstance(value, str | date) or (isinstance(value, str) and _NUMBER.fullmatch(value) and len(value) != 8):
        return False
    try:
        return parse_timestamp(value)[10:] == "T00:00:00+00:00"
    except ValueError:
        return False


def is_clock(value: object) -> bool:
    """Whether `value` is a time of the day alone: 18:30, 6:30:00 pm."""
    return isinstance(value, time) or (isinstance(value, str) and _CLOCK.fullmatch(value.strip()) is not None)


def on_day(day: Any, clock: object) -> Any:
    """The moment of a `day` whose `clock` stands in another cell; `day` as it is where there is no clock."""
    return f"{_MIDNIGHT.sub('', str(day).strip())} {clock}" if is_clock(clock) and str(day).strip() else day


def begins_with_year(value: object) -> bool | None:
    """Whether a date like 19-03-31 may begin with its year, of two digits; None for all other dates."""
    found = _NUMERIC_DAY.match(value.strip()) if isinstance(value, str) else None
    if found is None or len(found[1]) != 2 or len(found[4]) != 2:
        return None
    return int(found[1]) > 12 and int(found[3]) <= 12 and 1 <= int(found[4]) <= 31


def with_century(text: str) -> str:
    """19-03-31 as 2019-03-31; 69 to 99 are of the century before."""
    text = text.strip()
    return f"{'19' if text[:2] > '68' else '20'}{text}" if text[:2].isdecimal() else text


def _from_text(text: str, day_first: bool | None) -> str:
    if text.isdecimal() and len(text) <= 30:
        return _from_integer(int(text))
    if number := _NUMBER.fullmatch(text):
        return _from_float(float(text)) if number[1] or number[2] else _from_integer(int(text))
    if iso := _ISO.fullmatch(text):
        return _from_iso(*iso.groups(default="0"))
    if not text:
        raise ValueError("is empty")
    if len(text) > _LONGEST:
        raise ValueError(_UNREADABLE)
    return _from_calendar(text, day_first)


def _from_calendar(text: str, day_first: bool | None) -> str:
    """A date as people write it: the clock is read here, the day once for all rows of it."""
    if zone := _ZONE.search(text):
        return _in_zone(_from_text(text[: zone.start()], day_first), zone[1])
    text = _LOG_DAY.sub(r"\1 ", _HAN_DAY.sub(r"\1-\2-\3 ", text))
    clock = _CLOCK.search(text)
    seconds = microseconds = 0
    if clock:
        hour, minute, second = int(clock[1]), int(clock[2]), int(clock[3] or 0)
        if clock[5]:
            hour = hour % 12 + 12 * (clock[5] in "Pp") if 0 < hour <= 12 else 99
        if hour > 23 or minute > 59 or second > 59:
            raise ValueError(_NO_SUCH_DATE)
        seconds = 3600 * hour + 60 * minute + second
        microseconds = int((clock[4] or "0")[:6].ljust(6, "0"))
        text = f"{text[: clock.start()]}00:00:00{text[clock.end() :]}"
    return _clock(_midnight(text, day_first) + seconds, microseconds)


def _in_zone(moment: str, zone: str | None) -> str:
    """The moment, taken as the local time of a `zone` of the IANA database; as it is where that was said twice."""
    from zoneinfo import ZoneInfo

    if zone is None:
        return moment
    try:
        return parse_timestamp(datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)))
    except (KeyError, ValueError, OSError):
        raise ValueError(_UNREADABLE) from None


@lru_cache(maxsize=2**15)
def _midnight(text: str, day_first: bool | None) -> int:
    """Seconds from 1970 to the start of the day that `text` names."""
    if numeric := _NUMERIC_DAY.search(text):
        rest = text[: numeric.start()] + text[numeric.end() :]
        offset = _OFFSET.fullmatch(rest.replace("00:00:00", "").strip(" ,Tt"))
        if offset is None:
            raise ValueError(_UNREADABLE)
        day = _numeric_day(numeric[1], numeric[2], numeric[3], numeric[4], day_first)
        minutes = 60 * int(offset[2] or 0) + int(offset[3] or 0)
        return int((day - _EPOCH).total_seconds()) - 60 * (-minutes if offset[1] == "-" else minutes)
    return _read_day(text)


def _numeric_day(first: str, sign: str, second: str, last: str, day_first: bool | None) -> datetime:
    if len(first) > 2:
        year, month, day = first, second, last
    else:
        turned = int(first) > 12 if day_first is None else day_first
        if day_first is None and sign == ".":
            turned = int(second) <= 12
        year, (day, month) = last, (first, second) if turned else (second, first)
    full = int(year) + (0 if len(year) > 2 else 1900 if int(year) > 68 else 2000)
    try:
        return datetime(full, int(month), int(day))
    except ValueError:
        raise ValueError(_NO_SUCH_DATE) from None


def _read_day(text: str) -> int:
    """What dateutil makes of it, if it needs to make nothing up."""
    from dateutil import parser

    if not any(letter.isdecimal() for letter in text):
        raise ValueError(_UNREADABLE)
    try:
        # What the text does not say comes from the default: a day that depends on it is none.
        text = _MEANT_EAST.sub("", text)
        read, other = (parser.parse(text, default=day, tzinfos=_zone) for day in (_DEFAULT, _OTHER_DEFAULT))
    except (ValueError, OverflowError, TypeError, AttributeError, ArithmeticError, IndexError):
        raise ValueError(_UNREADABLE) from None
    if read != other:
        raise ValueError(_UNREADABLE)
    return int((read.replace(tzinfo=None) - _EPOCH - (read.utcoffset() or timedelta())).total_seconds())


_DEFAULT, _OTHER_DEFAULT = datetime(2000, 1, 1), datetime(2004, 2, 2)


def _zone(name: str | None, offset: int | None) -> int | None:
    if offset is not None or name is None:
        return offset
    if name not in _ZONES:
        raise ValueError(_UNREADABLE)
    return 3600 * _ZONES[name]


def _from_integer(number: int) -> str:
    if _FIRST_COMPACT <= number <= _LAST_COMPACT:  # 20231114 is a date, not a day in autumn 1970
        with suppress(ValueError):
            return _render(datetime(number // 10_000, number // 100 % 100, number % 100) - _EPOCH)
    for (first, last), digits in ((_MINUTE_COMPACT, 12), (_SECOND_COMPACT, 14)):
        if first <= number <= last:  # 20231114101500 is a date, not a millisecond of the year 2611
            with suppress(ValueError):
                return _render(datetime.strptime(str(number), _COMPACT[digits]) - _EPOCH)
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
