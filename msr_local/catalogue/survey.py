"""What the values of two files say before they are read: which ids meet, what a date is, what is missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import InputError
from ..store.rows import Rejected
from ..text import printable
from .delimited import Record
from .fields import IGNORE, INTERACTION_FIELDS, ITEM_FIELDS, MISSING, Fields, key_of, lay_out, to_rating, to_text, whole
from .histories import together
from .readers import How
from .tables import Source, Table, open_table
from .timestamps import day_order

_SAMPLE = 10_000  # rows of the interactions that are looked at
_POOR = 0.5  # of the rows' ids: with less, other columns are tried too
_CERTAIN = 1000  # rows without one known id: then it is the column that is wrong
_DOUBTFUL = frozenset({"nan", "NaN", "NULL", "null", "None", "N/A", "n/a"})  # may be a title once
_FLOAT = re.compile(r"\d+\.0+", re.ASCII)
_PARTS = (" ", ",", "|", ";")

Known: TypeAlias = Callable[[Iterable[str]], "set[str]"]
"""Which of some item ids the workspace has already."""


@dataclass(frozen=True, slots=True)
class Given:
    """A file and what its user says of it: `mapping` is column -> field."""

    path: Path
    mapping: Mapping[str, str]
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Found:
    """How to read a file, and which columns are which fields."""

    mapping: Mapping[str, str]
    how: How


@dataclass(slots=True)
class _Column:
    """Item ids in the sample: how often each stands in a column of the interactions, whose cells `apart` parts."""

    name: str
    apart: str | None
    ids: Counter[str] = field(default_factory=Counter)

    def covered(self, ids: set[str], *, as_whole: bool = False) -> float:
        met = sum(count for one, count in self.ids.items() if (whole(one) if as_whole else one) in ids)
        return met / max(1, self.ids.total())


@dataclass(frozen=True, slots=True)
class _Pair:
    item: str
    column: _Column
    share: float
    as_whole: bool


def survey(
    items: Given, interactions: Given, known: Known, tell: Callable[[str], None], day_first: bool | None = None
) -> tuple[Found, Found]:
    """How to read the two files. What is chosen, and what else there is to know, is told.

    Raises InputError if a file cannot be read, or if the ids of the two do not meet at all.
    """
    one_file = items.path == interactions.path
    with open_table(interactions.path, INTERACTION_FIELDS, interactions.source) as table:
        head = [record for record in islice(table.records, _SAMPLE) if not isinstance(record, Rejected)]
        _tell_notes(interactions.path, table, tell)
        log = _Log(interactions, table, head, tell)
        how = replace(log.how(), day_first=log.day_first(table.records) if day_first is None else day_first)
    if one_file:
        return _one_file(items, interactions, log, how)
    with open_table(items.path, ITEM_FIELDS, items.source) as table:
        rest, looked = iter(table.records), list(islice(table.records, 1))
        _tell_notes(items.path, table, tell)
        goods = _Goods(items, table, log, known)
        for record in chain(looked, rest):
            if not isinstance(record, Rejected):
                goods.look(record)
        item_how = How(source=replace(items.source, encoding=table.encoding), missing=goods.missing())
    pair = goods.best()
    if pair is None:
        return Found(items.mapping, item_how), Found(interactions.mapping, how)
    _judge(items.path, interactions.path, goods, log, pair, tell)
    item_how = replace(item_how, whole_items=pair.as_whole)
    how = replace(how, whole_items=pair.as_whole, apart=pair.column.apart)
    return (
        Found({**items.mapping, pair.item: "item_id"}, item_how),
        Found({**interactions.mapping, pair.column.name: "item_id"}, how),
    )


def _tell_notes(path: Path, table: Table, tell: Callable[[str], None]) -> None:
    for note in table.notes:
        tell(f"{path.name}: {note}")


def _one_file(items: Given, interactions: Given, log: _Log, how: How) -> tuple[Found, Found]:
    """One file with both: what belongs to the interactions is no part of an item."""
    mapping = dict.fromkeys(log.own, IGNORE) | dict(items.mapping)
    if log.named:
        mapping |= {log.named[0]: "item_id"}
    return Found(mapping, replace(how, counts=Counter())), Found(interactions.mapping, how)


class _Log:
    """The first rows of the interactions."""

    def __init__(self, given: Given, table: Table, head: list[Record], tell: Callable[[str], None]) -> None:
        self._given, self._table, self._head, self._tell = given, table, head, tell
        layout = lay_out(table.columns, INTERACTION_FIELDS, given.mapping)
        names = [column.strip() for column in table.columns]
        self._at = {field: names[index] for field, index in layout.fields.items()}
        self.rows = len(head)
        self.own = [self._at[field] for field in ("user_id", "timestamp", "rating", "earlier") if field in self._at]
        self.mapped = "item_id" in given.mapping.values()
        self.named = _named(names, INTERACTION_FIELDS, given.mapping, self.own)
        free = [name for name in names if name and name not in given.mapping and name not in self.own]
        self.columns = [
            column
            for name in (self.named if self.mapped else dict.fromkeys([*self.named, *free]))
            for column in self._columns(name)
        ]

    def _cells(self, name: str | None) -> Iterator[Any]:
        if name is None:
            return
        known, index = None, -1
        for _, columns, cells, _ in self._head:
            if columns is not known:
                known = columns
                index = next((at for at, one in enumerate(columns) if one.strip() == name), -1)
            if index >= 0:
                yield cells[index]

    def _columns(self, name: str) -> Iterator[_Column]:
        """The column as it is, and with its cells taken apart where most hold several."""
        values = list(self._cells(name))
        yield _counted(name, None, values)
        for sign in _PARTS:
            if sum(isinstance(one, str) and sign in one.strip() for one in values) * 2 > len(values):
                yield _counted(name, sign, values)

    def how(self) -> How:
        """What the sample says of users and ratings."""
        users = [one.strip() for one in self._cells(self._at.get("user_id")) if isinstance(one, str) and one.strip()]
        floats = bool(users) and all(_FLOAT.fullmatch(one) for one in users)
        if floats:
            self._tell(
                f"{self._given.path.name}: users like {users[0]!r} are whole numbers: read as {whole(users[0])!r}."
            )
        ratings = [one for one in map(_number, self._cells(self._at.get("rating"))) if one is not None]
        scale = [one for one in ratings if one != -1]
        unrated = len(scale) < len(ratings) and min(scale, default=-1) >= 0 and max(scale, default=0) >= 3
        if unrated:
            self._tell(
                f"{self._given.path.name}: -1 in {self._at['rating']!r} is read as not rated: the others are from "
                f"{min(scale):g} to {max(scale):g}."
            )
        source = replace(self._given.source, encoding=self._table.encoding)
        return How(source=source, whole_users=floats, unrated=unrated)

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
        self._tell(f"{self._given.path.name}: dates like {printable(shown)[:30]!r} are read {way}: {reason}")
        return first


class _Goods:
    """The items file, while it is looked through once: which of its columns holds the ids of the sample."""

    def __init__(self, given: Given, table: Table, log: _Log, known: Known) -> None:
        self._log = log
        names = [column.strip() for column in table.columns]
        at = {field: names[index] for field, index in lay_out(names, ITEM_FIELDS, given.mapping).fields.items()}
        self._title = at.get("title")
        self.mapped = "item_id" in given.mapping.values()
        self.named = _named(names, ITEM_FIELDS, given.mapping, [self._title] if self._title else [])
        free = [name for name in names if name and name not in given.mapping and name != self._title]
        self._candidates = self.named if self.mapped else list(dict.fromkeys([*self.named, *free]))
        self.examples: dict[str, str] = {}
        self._wanted = {one for column in log.columns for one in column.ids}
        self._wanted_whole = {whole(one) for one in self._wanted}
        self._known = known(self._wanted)
        self._met: dict[str, set[str]] = {name: set(self._known) for name in self._candidates}
        self._met_whole: dict[str, set[str]] = {name: set(self._known) for name in self._candidates}
        self._filled: Counter[str] = Counter()
        self._rows = 0
        self._distinct: dict[str, set[int]] = {name: set() for name in self._candidates}
        self._titles: Counter[str] = Counter()
        self._marks: set[str] = set()
        self._columns: tuple[str, ...] | None = None
        self._at: list[tuple[str, int]] = []

    def look(self, record: Record) -> None:
        """Take one row into account."""
        _, columns, cells, _ = record
        if columns is not self._columns:
            self._columns = columns
            places = {name.strip(): index for index, name in reversed(list(enumerate(columns)))}
            self._at = [(name, places[name]) for name in self._candidates if name in places]
            self._title_at = places.get(self._title or "", -1)
        self._rows += 1
        for index, cell in enumerate(cells):
            if isinstance(cell, str) and cell in _DOUBTFUL:
                if index == self._title_at:
                    self._titles[cell] += 1
                else:
                    self._marks.add(cell)
        for name, index in self._at:
            text = _text(cells[index])
            if text is None:
                continue
            self._filled[name] += 1
            if name not in self.examples:
                self.examples[name] = text
            if text in self._wanted:
                self._met[name].add(text)
            if text[-1].isdecimal() and (number := whole(text)) in self._wanted_whole:
                self._met_whole[name].add(number)
            if name not in self.named and self._rows <= _SAMPLE:
                self._distinct[name].add(hash(text))

    def missing(self) -> frozenset[str]:
        """What stands for no title: of the doubtful words, those that stand in other columns too, or repeatedly."""
        return MISSING - {word for word, count in self._titles.items() if count == 1 and word not in self._marks}

    def best(self) -> _Pair | None:
        """The two columns whose ids meet best; of such that meet alike, the likeliest by their names."""
        log = self._log
        named = [one for one in log.columns if one.name in log.named]
        pair = self._of(self.named, named)
        if pair and (pair.share >= _POOR or (self.mapped and log.mapped)):
            return pair
        unique = [name for name in self._candidates if name in self.named or self._is_key(name)]
        telling = [one for one in log.columns if one.name in log.named or len(one.ids) >= min(10, 0.3 * self._rows)]
        other = self._of(unique, telling)
        if other and other.share >= max(_POOR, (pair.share if pair else 0) + 0.01):
            return other
        return pair

    def _is_key(self, name: str) -> bool:
        return len(self._distinct[name]) >= 0.9 * min(self._rows, _SAMPLE)

    def _of(self, names: list[str], columns: list[_Column]) -> _Pair | None:
        pairs = [
            _Pair(name, column, column.covered(ids, as_whole=as_whole), as_whole)
            for as_whole, met in ((False, self._met), (True, self._met_whole))
            for column in columns
            for name in names
            for ids in [met[name]]
        ]
        # max takes the first of those that are alike: a whole percent has to be won by another.
        return max(pairs, key=lambda pair: round(pair.share, 2), default=None)


def _judge(items: Path, interactions: Path, goods: _Goods, log: _Log, pair: _Pair, tell: Callable[[str], None]) -> None:
    """Say which columns were taken, if there was a choice, and how far they meet."""
    column = pair.column
    rows = f"the first {log.rows:,} rows" if log.rows == _SAMPLE else f"{log.rows:,} rows"
    there, here = goods.examples.get(pair.item), next(iter(column.ids), None)
    if there is None or here is None:
        return
    if not pair.share:
        text = (
            f"no item id of {rows} of {interactions.name} is among the items: {column.name!r} there is like "
            f"{printable(here)[:40]!r}, {pair.item!r} of {items.name} like {printable(there)[:40]!r}. Next: say which "
            "columns are the ids, with --map items:COLUMN=item_id or --map interactions:COLUMN=item_id."
        )
        if log.rows >= _CERTAIN:
            raise InputError(text[0].upper() + text[1:])
        tell(text[0].upper() + text[1:])
        return
    plain = len(goods.named) == len(log.named) == 1 and not pair.as_whole and not column.apart and pair.share > 0.995
    if plain:
        return
    spelt = " as whole numbers (128.0 and 0128 are 128)" if pair.as_whole else ""
    parted = f", several to a cell, parted by {column.apart!r}" if column.apart else ""
    share = min(pair.share, 0.999) if pair.share < 1 else 1
    others = "" if goods.mapped and log.mapped else " Others: --map items:COLUMN=item_id."
    tell(
        f"Item ids are {pair.item!r} in {items.name} and {column.name!r} in {interactions.name}{spelt}{parted}: they "
        f"meet in {share:.1%} of {rows}.{others}"
    )


def _named(names: list[str], fields: Fields, mapping: Mapping[str, str], taken: list[str]) -> list[str]:
    """The columns that may be the item ids: the mapped one, else those with a usual name, the likeliest first."""
    mapped = [name for name in names if mapping.get(name) == "item_id"]
    synonyms = fields["item_id"]
    free = {name for name in names if key_of(name) in synonyms and name not in mapping and name not in taken}
    return mapped or sorted(free, key=lambda name: (name != "item_id", synonyms.index(key_of(name)), names.index(name)))


def _counted(name: str, apart: str | None, values: Iterable[Any]) -> _Column:
    column = _Column(name, apart)
    for value in values:
        several = together(value, apart)
        for one in [value] if several is None else several:
            if (text := _text(one)) is not None:
                column.ids[text] += 1
    return column


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        text = value.strip()
        return text if text and text not in MISSING else None
    try:
        return to_text("", value)
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    try:
        return to_rating(value)
    except ValueError:
        return None
