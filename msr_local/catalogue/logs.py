"""The first rows of the interactions: which columns have users, times and item ids, and what else their values say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

from ..store.rows import Rejected
from ..text import printable
from .delimited import Record
from .fields import CUT, INTERACTION_FIELDS, NO_ID, Fields, bare, key_of, lay_out, to_rating, to_text, whole
from .histories import together
from .readers import How
from .tables import Source, Table
from .timestamps import begins_with_year, day_order, is_clock, is_day, is_no_time, parse_timestamp, with_century

_USABLE = 0.1  # of the rows: with less, another column is the one
_LISTED = 12  # names of columns in a note
_FLOAT = re.compile(r"\d+\.0+", re.ASCII)
_AMOUNTS = frozenset("quantity qty amount units count purchasequantity orderquantity itemquantity".split())
_FLAGS = frozenset(
    "click clicked isclick isclicked like liked islike purchase purchased buy bought ordered converted conversion"
    " watched isread label target feedback interaction".split()
)
_NOBODY = frozenset({"-", "-1", "anonymous", "anon", "guest", "unknown", "undefined", "(not set)", "not logged in"})
_WORD = re.compile(r"[\w.:=-]+")  # nothing in it that a shell takes for its own
_INTEGER = re.compile(r"0|[1-9]\d*", re.ASCII)
_PLAIN = re.compile(r"[+-]?\d+([.,]\d*)?([eE][+-]?\d+)?", re.ASCII)
_PARTS = (" ", ",", "|", ";")
_CLOCKS = frozenset(
    "time eventtime ordertime purchasetime transactiontime invoicetime saletime timeofday clock".split()
)


@dataclass(frozen=True, slots=True)
class Given:
    """A file and what its user says of it: `mapping` is column -> field."""

    path: Path
    mapping: Mapping[str, str]
    source: Source = field(default_factory=Source)


@dataclass(slots=True)
class Column:
    """Item ids in the sample: how often each stands in a column of the interactions, whose cells `apart` parts."""

    name: str
    apart: str | None
    ids: Counter[str] = field(default_factory=Counter)

    def covered(self, ids: set[str], *, as_whole: bool = False) -> float:
        """The share of the ids here that are among `ids`, 0 to 1; `as_whole` compares whole numbers."""
        met = sum(count for one, count in self.ids.items() if (whole(one) if as_whole else one) in ids)
        return met / max(1, self.ids.total())


class Log:
    """The first rows of the interactions.

    `given` is what the user says of them, and what their values say of the columns of users and times.
    """

    def __init__(self, given: Given, table: Table, head: list[Record], tell: Callable[[str], None]) -> None:
        self._table, self._head, self._tell = table, head, tell
        self.names = names = [column.strip() for column in table.columns]
        self.given = given
        self._choose("user_id", lambda cell: text_of(cell) is not None)
        self._choose("timestamp", _is_time)
        given = self.given
        layout = lay_out(table.columns, INTERACTION_FIELDS, given.mapping)
        self._at = {field: names[index] for field, index in layout.fields.items()}
        self.rows = len(head)
        self.clock = self._clock()
        self.own = [self._at[field] for field in ("user_id", "timestamp", "rating", "earlier") if field in self._at]
        self.own += [self.clock] if self.clock else []
        self.mapped = "item_id" in given.mapping.values()
        self.named = named("item_id", names, INTERACTION_FIELDS, given.mapping, self.own)
        free = [name for name in names if name and name not in given.mapping and name not in self.own]
        self.columns = [
            column
            for name in (self.named if self.mapped else dict.fromkeys([*self.named, *free]))
            for column in self._columns(name)
        ]

    def _choose(self, field: str, good: Callable[[Any], bool]) -> None:
        """Of several columns with a usual name for `field`, take the first that has `good` cells."""
        names = named(field, self.names, INTERACTION_FIELDS, self.given.mapping)
        if len(names) < 2:
            return
        shares = {name: sum(map(good, self._cells(name))) / max(1, len(self._head)) for name in names}
        best = next((name for name in names if shares[name] >= _USABLE), names[0])
        if best != names[0]:
            self.given = replace(self.given, mapping={**self.given.mapping, best: field})
            if field == "timestamp" and all(is_clock(cell) or not text_of(cell) for cell in self._cells(names[0])):
                return
            self._tell(
                f"{self.given.path.name}: {field} is {printable(best)!r}, because {printable(names[0])!r} has a usable "
                f"value in {shares[names[0]]:.0%} of the rows."
            )

    def _clock(self) -> str | None:
        """The column with the times of the day, where that of the times has days only. Says so."""
        days = [cell for cell in self._cells(self._at.get("timestamp")) if text_of(cell) is not None or is_day(cell)]
        if not days or not all(map(is_day, days)):
            return None
        for name in self.names:
            clocks = [cell for cell in self._cells(name) if cell is not None and str(cell).strip()]
            free = key_of(name) in _CLOCKS and name not in self._at.values() and name not in self.given.mapping
            if free and clocks and all(map(is_clock, clocks)):
                self._tell(
                    f"{self.given.path.name}: the times are the days of {printable(self._at['timestamp'])!r} with the "
                    f"clock of {printable(name)!r}."
                )
                return name
        return None

    def century(self) -> bool:
        """Whether dates like 19-03-31 begin with their year: all can, and the days change more. Says so."""
        cells = [str(cell).strip() for cell in self._cells(self._at.get("timestamp"))]
        short = [cell for cell in cells if begins_with_year(cell) is not None]
        if not short or not all(map(begins_with_year, short)):
            return False
        if len({cell[:2] for cell in short}) >= len({cell[6:8] for cell in short}):
            return False
        self._tell(
            f"{self.given.path.name}: dates like {printable(short[0])[:30]!r} are read year first: "
            f"{with_century(printable(short[0]))[:30]}. If that is wrong: --day-first or --month-first."
        )
        return True

    def _unused(self, items: str | None) -> list[str]:
        used = {*self.own, *self.given.mapping, items, ""}
        return [column for column in dict.fromkeys(self.names) if column not in used]

    def tell_times(self, items: str | None) -> None:
        """Say where the order of the rows counts instead of times, or numbers are none of today. `items`: the ids."""
        if "timestamp" not in self._at:
            like = next((column for column in self._unused(items) if self._is_timed(column)), None)
            advice = f" If {printable(like)!r} has them: {_map(like, 'timestamp')}." if like else ""
            self._tell(
                f"{self.given.path.name}: no column of times: the order of the rows is that of each history.{advice}"
            )
            return
        column = self._at["timestamp"]
        filled = [cell for cell in self._cells(column) if text_of(cell) is not None and not is_no_time(cell)]
        if filled and not any(map(_is_time, filled)):
            self._tell(
                f"{self.given.path.name}: nothing in {printable(column)!r} can be read as a time, such as "
                f"{printable(str(filled[0]))[:40]!r}. Next: write it as 2020-01-31 or 2020-01-31 18:30, or let the "
                f"order of the rows count: {_map(column, 'ignore')}."
            )
        if cut := next((cell for cell in filled if isinstance(cell, str) and CUT.fullmatch(cell.strip())), None):
            self._tell(
                f"{self.given.path.name}: times like {cut.strip()!r} are numbers of which a spreadsheet has left the "
                "first digits: rows that were hours or days apart have one time, and the same item twice in it counts "
                f"once. Next: export the column {printable(column)!r} as text."
            )
        cells = [cell for cell in filled if _is_number(cell) and _is_time(cell)]
        if cells and max(map(parse_timestamp, cells)) < "1975":
            self._tell(
                f"{self.given.path.name}: times like {str(cells[0])!r} are read as seconds since 1970: "
                f"{parse_timestamp(cells[0])[:19]}. If they count days, years or from another moment, their order is "
                "right and their dates are not. Next, for these: write them as 2020-01-31."
            )

    def tell_returns(self, items: str | None) -> None:
        """Say of how many rows a quantity says that they are returns, or a flag that nothing happened. `items`: ids."""
        for column in self._unused(items):
            below = sum((_number(cell) or 0) < 0 for cell in self._cells(column)) if key_of(column) in _AMOUNTS else 0
            if below:
                self._tell(
                    f"{self.given.path.name}: rows of the first {self.rows:,} with {printable(column)!r} below 0, as "
                    f"returns have: {below:,}. They are steps of a history like all others. Next, if they are returns: "
                    "leave these rows out."
                )
            flags = [_number(cell) for cell in self._cells(column)] if key_of(column) in _FLAGS else []
            if set(flags) - {None} == {0, 1}:
                self._tell(
                    f"{self.given.path.name}: rows of the first {self.rows:,} with {printable(column)!r} 0: "
                    f"{flags.count(0):,}. They are steps of a history like all others. Next, if 0 says that nothing "
                    f"happened: {_map(column, 'rating')} --min-rating 1."
                )

    def tell_unused(self, items: str | None) -> None:
        """Say which columns count for nothing. `items` are the ids."""
        if rest := self._unused(items):
            listed = ", ".join(map(self._shown, rest[:_LISTED])) + (", …" if len(rest) > _LISTED else "")
            self._tell(f"{self.given.path.name}: not used: {listed}.")

    def _tell_alike(self, users: Iterable[str]) -> None:
        """Say how many users are others only by how they are written."""
        spelt: dict[str, str] = {}
        pairs = [(first, one) for one in dict.fromkeys(users) if (first := spelt.setdefault(alike(one), one)) != one]
        if pairs:
            self._tell(
                f"{self.given.path.name}: users that are others only by {difference(*pairs[0])}: {len(pairs):,}. Each "
                "has a history of their own. Next, if they are the same: write them alike."
            )

    def _is_timed(self, column: str) -> bool:
        cells = [cell for cell in self._cells(column) if text_of(cell) is not None]
        return bool(cells) and sum(not _is_number(cell) and _is_time(cell) for cell in cells) > 0.9 * len(cells)

    def _shown(self, column: str) -> str:
        """The name of a column, and what stands in it if that is a choice of words, such as kinds of events."""
        words = Counter(cell.strip() for cell in self._cells(column) if isinstance(cell, str) and cell.strip())
        few = 1 < len(words) <= 6 and all(len(word) < 20 and not word[-1].isdecimal() for word in words)
        return printable(column)[:40] + (f" ({', '.join(printable(word) for word, _ in words.most_common())})" * few)

    def _cells(self, name: str | None) -> Iterator[Any]:
        return cells_of(self._head, name)

    def _columns(self, name: str) -> Iterator[Column]:
        """The column as it is, and with its cells taken apart where most hold several."""
        values = list(self._cells(name))
        yield _counted(name, None, values)
        for sign in _PARTS:
            if sum(isinstance(one, str) and sign in one.strip() for one in values) * 2 > len(values):
                yield _counted(name, sign, values)

    def how(self) -> How:
        """What the sample says of users and ratings."""
        users = [one.strip() for one in self._cells(self._at.get("user_id")) if isinstance(one, str) and one.strip()]
        # All, or beside the same without a point: a file that was joined of two, one with a gap in its column.
        like = next((one for one in users if _FLOAT.fullmatch(one)), None)
        floats = like is not None and all(
            _FLOAT.fullmatch(one) or _INTEGER.fullmatch(one) or not _PLAIN.fullmatch(one) for one in users
        )
        if like and floats:
            self._tell(f"{self.given.path.name}: users like {like!r} are whole numbers: read as {whole(like)!r}.")
        self._tell_alike(users)
        names = Counter(text_of(cell) for cell in self._cells(self._at.get("user_id")))
        for name in filter(lambda name: name and name.casefold() in _NOBODY, names):
            self._tell(
                f"{self.given.path.name}: rows of the first {self.rows:,} whose user is {name!r}: {names[name]:,}. "
                "They count as one person. Next, if that stands for somebody who is not known: leave these rows out."
            )
        ratings = [one for one in map(_number, self._cells(self._at.get("rating"))) if one is not None]
        scale = [one for one in ratings if one != -1]
        unrated = len(scale) < len(ratings) and min(scale, default=-1) >= 0 and max(scale, default=0) >= 3
        if unrated:
            self._tell(
                f"{self.given.path.name}: -1 in {self._at['rating']!r} is read as not rated: the others are from "
                f"{min(scale):g} to {max(scale):g}."
            )
        source = replace(self.given.source, encoding=self._table.encoding)
        apart = {*self.own, *self.named}
        return How(
            source=source,
            whole_users=floats,
            unrated=unrated,
            going_on=going_on(self._head, self._at.get("user_id"), apart),
            dated_by=going_on(self._head, self._at.get("timestamp"), apart),
            clock=self.clock,
        )

    def day_first(self, rest: Iterator[Record | Rejected]) -> bool | None:
        """What 3/4/2019 is, by the whole column; None where there are no such dates."""
        column = self._at.get("timestamp")
        orders = Counter(order for one in self._cells(column) if (order := day_order(one)))
        if not orders or column is None:
            return None
        shown = next(str(one) for one in self._cells(column) if day_order(one)).strip()
        index = [name.strip() for name in self._table.columns].index(column)
        for record in rest:
            if not isinstance(record, Rejected) and index < len(record[2]) and (order := day_order(record[2][index])):
                orders[order] += 1
        first = orders["day"] > orders["month"] or (orders["day"] == orders["month"] and "." in shown)
        way = "day first" if first else "month first"
        if orders["day"] == orders["month"] == 0:
            reason = f"nothing in the column says which. If that is wrong: --{'month' if first else 'day'}-first."
        elif min(orders["day"], orders["month"]):
            reason = (
                f"{max(orders['day'], orders['month']):,} dates say so, {min(orders['day'], orders['month']):,} do not."
            )
        else:
            reason = f"{max(orders['day'], orders['month']):,} dates can be nothing else."
        self._tell(f"{self.given.path.name}: dates like {printable(shown)[:30]!r} are read {way}: {reason}")
        return first


def cells_of(records: Iterable[Record], name: str | None) -> Iterator[Any]:
    """What stands in the column `name`, in the records that have it."""
    known, index = None, -1
    for _, columns, cells, _ in records if name is not None else ():
        if columns is not known:
            known = columns
            index = next((at for at, one in enumerate(columns) if one.strip() == name), -1)
        if index >= 0:
            yield cells[index]


def _map(column: str, field: str) -> str:
    """The option that reads `column` as `field`, as any shell takes it."""
    said = f"{printable(column)}={field}"
    return f"--map {said}" if _WORD.fullmatch(said) else f'--map "{said}"'


def going_on(records: Sequence[Record], field: str | None, without: Collection[str]) -> str | None:
    """The column by which rows with nothing in the column `field` go on with the row before; None if there is none.

    The number of an order whose first row alone has the buyer or the time, or the handle of a product whose first row
    alone has the title. Each such row has in it what the row before has, and no value in it has two of `field`.
    Columns in `without` are none of this kind.
    """
    values = [text_of(cell) for cell in cells_of(records, field)]
    if None not in values or values[0] is None:
        return None
    for name in records[0][1]:
        cells = [text_of(cell) for cell in cells_of(records, name.strip())]
        if name.strip() in without or len(cells) != len(values) or None in cells:
            continue
        pairs = {(cell, value) for cell, value in zip(cells, values, strict=True) if value is not None}
        known = all(value is not None or cells[at] == cells[at - 1] for at, value in enumerate(values))
        if known and len(pairs) == len({cell for cell, _ in pairs}):
            return name
    return None


def named(
    field: str, names: list[str], fields: Fields, mapping: Mapping[str, str], taken: Sequence[str] = ()
) -> list[str]:
    """The columns that may be `field`: the mapped one, else those with a usual name, the likeliest first."""
    mapped = [name for name in names if mapping.get(name) == field]
    synonyms = fields[field]
    free = {name for name in names if key_of(name) in synonyms and name not in mapping and name not in taken}
    return mapped or sorted(free, key=lambda name: (name != field, synonyms.index(key_of(name)), names.index(name)))


def _counted(name: str, apart: str | None, values: Iterable[Any]) -> Column:
    column = Column(name, apart)
    for value in values:
        several = together(value, apart)
        for one in [value] if several is None else several:
            if (text := text_of(one)) is not None:
                column.ids[text] += 1
    return column


def alike(text: str) -> str:
    """`text` as it is to the eye: without case, blanks, signs that are not seen, and ways to write an accent."""
    if text.isalnum() and text.isascii():
        return text.casefold()
    return "".join(sign for sign in normalize("NFKC", text).casefold() if category(sign) not in ("Cf", "Zs", "Cc"))


def difference(one: str, other: str) -> str:
    """By what two texts that are `alike` are not the same, with both of them."""
    if one.casefold() == other.casefold():
        return f"upper and lower case, as {printable(one)[:40]!r} is not {printable(other)[:40]!r}"
    return f"blanks or signs that look the same, as {one[:40]!a} is not {other[:40]!a}"


def text_of(value: Any) -> str | None:
    """An id as text; None where there is none."""
    if isinstance(value, str):
        text = bare(value.strip())
        return text if text and text not in NO_ID else None
    try:
        return to_text("", value)
    except ValueError:
        return None


def _is_time(value: Any) -> bool:
    try:
        parse_timestamp(value)
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and _PLAIN.fullmatch(value.strip()) is not None)


def _number(value: Any) -> float | None:
    try:
        return to_rating(value)
    except ValueError:
        return None
