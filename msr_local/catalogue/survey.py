"""What the values of two files say before they are read: which ids meet, what a date is, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

from ..errors import InputError
from ..store.rows import Rejected
from ..text import printable
from .delimited import Record
from .fields import (
    IGNORE,
    INTERACTION_FIELDS,
    ITEM_FIELDS,
    MISSING,
    Fields,
    check_columns,
    lay_out,
    whole,
)
from .logs import Column, Given, Log, alike, difference, going_on, named, text_of
from .readers import How
from .tables import Table, open_table

_SAMPLE = 10_000  # rows of the interactions that are looked at
_POOR = 0.5  # of the rows' ids: with less, other columns are tried too
_CERTAIN = 1000  # rows without one known id: then it is the column that is wrong
_DOUBTFUL = frozenset({"nan", "NaN", "NULL", "null", "None", "N/A", "n/a"})  # may be a title once

Known: TypeAlias = Callable[[Iterable[str]], "set[str]"]
"""Which of some item ids the workspace has already."""


@dataclass(frozen=True, slots=True)
class Found:
    """How to read a file, and which columns are which fields."""

    mapping: Mapping[str, str]
    how: How


@dataclass(frozen=True, slots=True)
class _Pair:
    item: str
    column: Column
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
        head = _head(interactions.path, table, tell)
        log = Log(interactions, table, head, tell)
        how = replace(log.how(), day_first=day_first, century=day_first is None and log.century())
        if day_first is None and not how.century:
            how = replace(how, day_first=log.day_first(table.records))
    interactions = log.given
    if one_file:
        return _one_file(items, log, how)
    with open_table(items.path, ITEM_FIELDS, items.source) as table:
        head = _head(items.path, table, tell)
        goods = _Goods(items, table, log, known)
        for record in chain(head, table.records):
            if not isinstance(record, Rejected):
                goods.look(record)
        source = replace(items.source, encoding=table.encoding)
        item_how = How(
            source=source, missing=goods.missing(), going_on=going_on(head, goods.title, {goods.title or ""})
        )
    pair = goods.best()
    if pair is None:
        found = Found(items.mapping, item_how), Found(interactions.mapping, how)
    else:
        item_how = replace(item_how, whole_items=pair.as_whole)
        how = replace(how, whole_items=pair.as_whole, apart=pair.column.apart)
        found = (
            Found({**items.mapping, pair.item: "item_id"}, item_how),
            Found({**interactions.mapping, pair.column.name: "item_id"}, how),
        )
    # Now, not when they are read: a file that cannot be used must not leave the rows of the other one.
    _check(items.path, goods.names, ITEM_FIELDS, found[0].mapping)
    _check(interactions.path, log.names, INTERACTION_FIELDS, found[1].mapping)
    if pair:
        _judge(items.path, interactions.path, goods, log, pair, tell)
    log.tell_times(pair.column.name if pair else None)
    log.tell_returns(pair.column.name if pair else None)
    log.tell_unused(pair.column.name if pair else None)
    return found


def _check(path: Path, names: Sequence[str], fields: Fields, mapping: Mapping[str, str]) -> None:
    try:
        check_columns(names, fields, mapping)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _head(path: Path, table: Table, tell: Callable[[str], None]) -> list[Record]:
    """The first rows of a file, rejects left out. What there is to say of it is told."""
    head = list(islice(table.records, _SAMPLE))
    for note in (
        table.notes if head else [*table.notes, "there are no rows in it. Next: see whether all of it is here."]
    ):
        tell(f"{path.name}: {note}")
    return [record for record in head if not isinstance(record, Rejected)]


def _one_file(items: Given, log: Log, how: How) -> tuple[Found, Found]:
    """One file with both: what belongs to the interactions is no part of an item."""
    mapping = dict.fromkeys(log.own, IGNORE) | dict(items.mapping)
    if log.named:
        mapping |= {log.named[0]: "item_id"}
    _check(log.given.path, log.names, ITEM_FIELDS, mapping)
    _check(log.given.path, log.names, INTERACTION_FIELDS, log.given.mapping)
    log.tell_times(log.named[0] if log.named else None)
    log.tell_returns(log.named[0] if log.named else None)
    return Found(mapping, replace(how, counts=Counter())), Found(log.given.mapping, how)


class _Goods:
    """The items file, while it is looked through once: which of its columns holds the ids of the sample."""

    def __init__(self, given: Given, table: Table, log: Log, known: Known) -> None:
        self._log = log
        self.names = names = [column.strip() for column in table.columns]
        at = {field: names[index] for field, index in lay_out(names, ITEM_FIELDS, given.mapping).fields.items()}
        self.title = at.get("title")
        self.mapped = "item_id" in given.mapping.values()
        self.named = named("item_id", names, ITEM_FIELDS, given.mapping, [self.title] if self.title else [])
        free = [name for name in names if name and name not in given.mapping and name != self.title]
        self._candidates = self.named if self.mapped else list(dict.fromkeys([*self.named, *free]))
        self.examples: dict[str, str] = {}
        self._wanted = {one for column in log.columns for one in column.ids}
        self._wanted_whole = {whole(one) for one in self._wanted}
        self._wanted_alike = set(map(alike, self._wanted))
        self._alike: dict[str, dict[str, str]] = {name: {} for name in self._candidates}
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
            self._title_at = places.get(self.title or "", -1)
        self._rows += 1
        for index, cell in enumerate(cells):
            if isinstance(cell, str) and cell in _DOUBTFUL:
                if index == self._title_at:
                    self._titles[cell] += 1
                else:
                    self._marks.add(cell)
        for name, index in self._at:
            text = text_of(cells[index])
            if text is None:
                continue
            self._filled[name] += 1
            if name not in self.examples:
                self.examples[name] = text
            if text in self._wanted:
                self._met[name].add(text)
            elif (same := alike(text)) in self._wanted_alike:
                self._alike[name][same] = text
            if text[-1].isdecimal() and (number := whole(text)) in self._wanted_whole:
                self._met_whole[name].add(number)
            if name not in self.named and self._rows <= _SAMPLE:
                self._distinct[name].add(hash(text))

    def missing(self) -> frozenset[str]:
        """What stands for no title: of the doubtful words, those that stand in other columns too, or repeatedly."""
        return MISSING - {word for word, count in self._titles.items() if count == 1 and word not in self._marks}

    def unlike(self, pair: _Pair) -> str:
        """What there is to say of ids that the two files write in two ways: in upper and lower case, é in two signs."""
        there = self._alike[pair.item]
        met = self._met_whole[pair.item] if pair.as_whole else self._met[pair.item]
        found = [
            one for one in pair.column.ids if alike(one) in there and (whole(one) if pair.as_whole else one) not in met
        ]
        if not found:
            return ""
        different = difference(found[0], there[alike(found[0])])
        return f"{len(found):,} ids are others only by {different}. Next: write them alike in both files."

    def best(self) -> _Pair | None:
        """The two columns whose ids meet best; of such that meet alike, the likeliest by their names."""
        log = self._log
        named = [one for one in log.columns if one.name in log.named]
        pair = self._of(self.named, named)
        if pair and (pair.share >= _POOR or (self.mapped and log.mapped)):
            return pair
        unique = [name for name in self._candidates if name in self.named or self._is_key(name)]
        telling = [one for one in log.columns if one.name in log.named or self._may_be_ids(one)]
        other = self._of(unique, telling)
        if other and other.share >= max(_POOR, (pair.share if pair else 0) + 0.01):
            return other
        return pair

    def _may_be_ids(self, column: Column) -> bool:
        """Whether there is some choice in a column; a number that is another in each row is that of the row."""
        if len(column.ids) < min(10, 0.3 * self._rows):
            return False
        return len(column.ids) < column.ids.total() or not all(one.isdecimal() for one in column.ids)

    def _is_key(self, name: str) -> bool:
        return len(self._distinct[name]) >= 0.9 * min(self._rows, _SAMPLE)

    def _of(self, names: list[str], columns: list[Column]) -> _Pair | None:
        pairs = [
            _Pair(name, column, column.covered(ids, as_whole=as_whole), as_whole)
            for as_whole, met in ((False, self._met), (True, self._met_whole))
            for column in columns
            for name in names
            for ids in [met[name]]
        ]
        # max takes the first of those that are alike: a whole percent has to be won by another.
        return max(pairs, key=lambda pair: round(pair.share, 2), default=None)


def _judge(items: Path, interactions: Path, goods: _Goods, log: Log, pair: _Pair, tell: Callable[[str], None]) -> None:
    """Say which columns were taken, if there was a choice, and how far they meet."""
    column = pair.column
    rows = f"the first {log.rows:,} rows" if log.rows == _SAMPLE else f"{log.rows:,} rows"
    there, here = goods.examples.get(pair.item), next(iter(column.ids), None)
    if there is None or here is None:
        return
    if unlike := goods.unlike(pair):
        tell(f"{interactions.name}: {unlike}")
    if not pair.share:
        text = (
            f"no item id of {rows} of {interactions.name} is among the items: {column.name!r} there is like "
            f"{printable(here)[:40]!r}, {pair.item!r} of {items.name} like {printable(there)[:40]!r}. Next: say which "
            "columns are the ids, with --map items:COLUMN=item_id or --map interactions:COLUMN=item_id; or, if they "
            "are these, write the ids alike in both files."
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
