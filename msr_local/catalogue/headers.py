"""Files without a header: which line is none, and what the columns are of those that the world knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..store.rows import Rejected
from ..text import printable
from .delimited import DELIMITERS, Line, Record, best_delimiter, split_line
from .fields import INTERACTION_FIELDS, ITEM_FIELDS, Fields, key_of, rejected, shown

KNOWN = frozenset(key for fields in (ITEM_FIELDS, INTERACTION_FIELDS) for keys in fields.values() for key in keys)
"""Names of columns that are well known, as `key_of` makes them."""
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?", re.ASCII)
_VALUE = re.compile(r"[a-z]+://.*|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*", re.ASCII | re.DOTALL)
_EPOCH = re.compile(r"\d{9,19}(\.0*)?", re.ASCII)
_STEPS = re.compile(r"\d+[ \t]+\d+( +\d+)* *", re.ASCII)
_BLOCK = re.compile(r"\d+:", re.ASCII)  # as the Netflix prize has the films
_STEPS_COLUMNS = ("user_id", "item_id")
_SHOWN = re.compile(r"N\d+(-[01])?( N\d+(-[01])?)*")
_MIND = ("user_id", "item_id_list", "item_id", "timestamp")
_U_ITEM = ("item_id", "title", "release_date", "imdb_url", "genres")

_GENRES = (
    "unknown Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical"
    " Mystery Romance Sci-Fi Thriller War Western".split()
)

Reshape = Callable[[Iterator["Record | Rejected"]], Iterator["Record | Rejected"]]


@dataclass(frozen=True, slots=True)
class Named:
    """The columns that a file without a header has, its delimiter, and how its rows become records of `columns`."""

    columns: tuple[str, ...]
    delimiter: str
    quotes: bool = True
    cells: tuple[str, ...] = ()
    reshape: Reshape | None = None


def has_names(cells: Sequence[str]) -> bool:
    """Whether a first line has a well-known name in it, or the numbers from 0 on, as pandas names columns."""
    names = [cell.strip() for cell in cells]
    return any(key_of(name) in KNOWN for name in names) or names == [str(n) for n in range(len(names))]


def header_below(lines: Iterable[str]) -> int | None:
    """Which of the lines under a first one without names is the header: it has two well-known names or more."""
    for at, line in enumerate(lines):
        if sum(key_of(cell) in KNOWN for cell in split_line(line, best_delimiter(line))) > 1:
            return at
    return None


def has_values(cells: Sequence[str]) -> bool:
    """Whether a first line has what is no name: a number, a date, an address, a long text."""
    names = cells[0].split() if len(cells) == 1 else [cell.strip() for cell in cells]
    return any(
        _BLOCK.fullmatch(name) or _NUMBER.fullmatch(name) or _VALUE.fullmatch(name) or len(name) > 100 for name in names
    )


def no_header(first: str, number: int) -> InputError:
    """What to say of a file whose first line is a row."""
    if _BLOCK.fullmatch(first.strip()):
        return InputError(
            f"line {number}, {first.strip()!r}, names the item of the rows under it, but each row needs its own. Next: "
            'awk -F, \'BEGIN { print "item_id,user_id,rating,date" } /:$/ { sub(/:.*/, ""); item = $0; next } '
            '{ print item "," $0 }\' FILE > NEW, then name the new file.'
        )
    return InputError(
        f"no header: line {number} is a row, {shown(printable(first))}. Next: name its "
        f"{len(split_line(first, best_delimiter(first)))} columns in their order, as in --columns items:item_id,title "
        "or --columns interactions:user,item,rating,time (an empty name leaves one out); or put such a line at the top."
    )


def well_known(first: str, head: Sequence[str], fields: Fields) -> Named | None:
    """What the columns are, if `first` is a row as data sets without a header have it; None for all others.

    MovieLens 100K (u.item, u.data) and 1M (::), MIND, titles of MicroLens, and rating logs with epoch times.
    """
    known = _known_items if fields is ITEM_FIELDS else _known_log
    for delimiter in sorted(DELIMITERS, key=lambda sign: sign != best_delimiter(first)):
        cells = [cell.strip() for cell in split_line(first, delimiter)]
        if len(cells) > 1 and not has_names(cells) and (found := known(cells, delimiter)):
            return found
    if fields is ITEM_FIELDS or not _STEPS.fullmatch(first.strip("\r\n")):
        return None
    return Named(_STEPS_COLUMNS, "") if first.count("\t") == 1 or _are_steps(head) else None


def _known_items(cells: Sequence[str], delimiter: str) -> Named | None:
    numbers = [_NUMBER.fullmatch(cell) is not None for cell in cells]
    if delimiter == "::" and len(cells) == 3:
        return Named(("item_id", "title", "genres"), "::", quotes=False)
    if delimiter == "|" and len(cells) == 24 and all(numbers[5:]):
        return Named(_U_ITEM, "|", False, tuple(map(str, range(24))), _with_genres)
    if delimiter == "\t" and len(cells) == 8 and re.fullmatch(r"N\d+", cells[0]):
        return Named(("item_id", "category", "subcategory", "title", "abstract", "url", "", ""), "\t", quotes=False)
    if numbers == [True, False]:
        return Named(("item_id", "title"), delimiter)
    return None


def _known_log(cells: Sequence[str], delimiter: str) -> Named | None:
    if delimiter == "\t" and len(cells) == 5 and re.fullmatch(r"U\d+", cells[1]) and _SHOWN.fullmatch(cells[4]):
        return Named(_MIND, "\t", False, ("number", "user_id", "time", "history", "shown"), _impressions)
    if len(cells) != 4 or not _EPOCH.fullmatch(cells[3]) or not all(_NUMBER.fullmatch(cell) for cell in cells):
        return None
    is_rating = abs(float(cells[2].replace(",", "."))) <= 100
    return Named(("user_id", "item_id", "rating", "timestamp"), delimiter) if is_rating else None


def _are_steps(head: Sequence[str]) -> bool:
    """Whether lines of numbers are a user and items each: of pairs, or of as many as each user has."""
    widths = {len(line.split()) for line in head if not line.isspace()}
    return widths == {2} or len(widths) > 1


def steps(lines: Iterator[Line]) -> Iterator[Record | Rejected]:
    """A user, then what they chose in time order: numbers with blanks between."""
    for number, text in lines:
        user, _, items = text.strip("\r\n").replace("\t", " ", 1).partition(" ")
        if items.strip():
            for item in items.split():
                if item.isdecimal():
                    yield number, _STEPS_COLUMNS, (user, item), text
                else:
                    yield rejected(number, f"item_id {shown(item)} is not a number", text)
        elif not text.isspace():
            yield rejected(number, "row is not a user, then item numbers", text)


def _with_genres(records: Iterator[Record | Rejected]) -> Iterator[Record | Rejected]:
    """u.item of MovieLens 100K: nineteen columns of 0 and 1 are the genres."""
    for record in records:
        if isinstance(record, Rejected):
            yield record
            continue
        line, _, cells, text = record
        genres = [name for name, flag in zip(_GENRES, cells[5:], strict=True) if flag.strip() == "1"]
        yield line, _U_ITEM, (cells[0], cells[1], cells[2], cells[4], genres), text


def _impressions(records: Iterator[Record | Rejected]) -> Iterator[Record | Rejected]:
    """behaviors.tsv of MIND: what was read before, and of what was shown what was clicked (N1-1)."""
    for record in records:
        if isinstance(record, Rejected):
            yield record
            continue
        line, _, (_, user, time, history, impressions), text = record
        clicked = [one[:-2] for one in impressions.split() if one.endswith("-1")]
        yield line, _MIND, (user, history.split(), clicked, time), text
