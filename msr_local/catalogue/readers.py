"""Files of other programs, read as typed rows. What cannot be read is handed out too, with the reason."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ..errors import InputError
from ..store.rows import InteractionRow, ItemRow, Rejected, kind_of
from ..text import name_of, printable
from .delimited import Record
from .fields import (
    INTERACTION_FIELDS,
    ITEM_FIELDS,
    MISSING,
    NO_ID,
    Fields,
    Layout,
    Naming,
    rejected,
    shown,
    to_attribute,
    to_image,
    to_rating,
    to_text,
    to_title,
    whole,
)
from .histories import Histories, together
from .tables import Parser, Source, open_table, read_columns
from .timestamps import is_no_time, on_day, parse_timestamp, with_century

FORMATS = (".csv", ".tsv", ".txt", ".dat", ".data", ".item", ".inter", ".json", ".jsonl", ".ndjson", ".parquet")

_PACKED = (".gz", ".bz2", ".xz", ".zip")
_FOLDERS = (
    ("movies.csv", "ratings.csv"),  # MovieLens
    ("movies.dat", "ratings.dat"),  # MovieLens, older
    ("u.item", "u.data"),  # MovieLens 100K
    ("*.item", "*.inter"),  # RecBole
    ("*_titles.csv", "*_pairs.tsv"),  # MicroLens
    ("*_title*.csv", "*_pairs.csv"),
    ("news.tsv", "behaviors.tsv"),  # MIND
    ("items.*", "interactions.*"),
)
_PATIENCE = 1000  # rows: if all of these fail for one reason, so will the rest

Row = TypeVar("Row", ItemRow, InteractionRow)
Read: TypeAlias = Iterator["Row | Rejected"]


@dataclass(frozen=True, slots=True)
class How:
    """How the cells of a file are to be read, as its user or its values say; `counts` is what came of it, "what; so".

    `missing`: spellings of an absent title. `whole_items`, `whole_users`: ids like "128.0" are whole numbers. `apart`:
    what parts the items of a cell that holds several. `day_first`: what 3/4/2019 is. `unrated`: -1 is no rating.
    `rated`: a row whose rating cannot be read is of no use. `going_on`: a row without a user, or without a title, that
    has in this column what the row before has is of the same user, or a variant of the same item; `dated_by` is that
    column for rows without a time. `clock`: the column that has the time of the day. `century`: dates like 19-03-31
    begin with their year.
    """

    source: Source = field(default_factory=Source)
    missing: frozenset[str] = MISSING
    whole_items: bool = False
    whole_users: bool = False
    apart: str | None = None
    day_first: bool | None = None
    unrated: bool = False
    rated: bool = False
    going_on: str | None = None
    dated_by: str | None = None
    clock: str | None = None
    century: bool = False
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)


def find_sources(items: Path, interactions: Path | None) -> tuple[Path, Path]:
    """The items file and the interactions file: as given, or found in `items` if that is a folder.

    Raises InputError if a path is missing, or if the folder does not hold just one pair that is known.
    """
    for path in (items, interactions):
        if path is not None and not path.exists():
            raise InputError(f"{path}: no such file or folder")
        if path is not None and not path.is_file() and not path.is_dir():
            raise InputError(f"{path}: a pipe or a device, but it is read more than once. Next: write it into a file.")
    if interactions is not None:
        for path in (items, interactions):
            if path.is_dir():
                raise InputError(
                    f"{path} is a folder. Next: name a file in it; where it holds a table in parts, ingest one after "
                    "the other (each adds to what is there). Or name one folder alone that holds both files."
                )
        return items, interactions
    if not items.is_dir():
        raise InputError(f"{items}: name the interactions file too, or a folder that holds both files")
    there = sorted(path for path in items.iterdir() if _format(path) in FORMATS)
    for patterns in _FOLDERS:
        found = [[path for path in there if fnmatchcase(path.name.lower(), pattern)] for pattern in patterns]
        if all(len(paths) == 1 for paths in found):
            return found[0][0], found[1][0]
        if all(found):
            names = ", ".join(path.name for paths in found for path in paths)
            raise InputError(f"{items}: more than one pair of files is possible ({names}): name the two files")
    kinds = [(path, _kind_of_table(path)) for path in there]
    pair = [[path for path, kind in kinds if kind is fields] for fields in (ITEM_FIELDS, INTERACTION_FIELDS)]
    if all(len(paths) == 1 for paths in pair):
        return pair[0][0], pair[1][0]
    held = ", ".join(name_of(path.name) for path in there[:6]) + (", …" if len(there) > 6 else "")
    looked_for = ", ".join(" with ".join(patterns) for patterns in _FOLDERS)
    raise InputError(
        f"{items}: no known pair of files in this folder, neither by name nor by columns. Looked for {looked_for}. "
        f"It holds {held or 'no table'}. Next: name the two files."
    )


def _kind_of_table(path: Path) -> Fields | None:
    """The fields of which a file has all that are required, by usual names; a table of steps may have titles too."""
    try:
        return next((fields for fields in (INTERACTION_FIELDS, ITEM_FIELDS) if _has_all(path, fields)), None)
    except InputError:
        return None


def _has_all(path: Path, fields: Fields) -> bool:
    names, _ = read_columns(path, fields, Source())
    return Naming(fields, {}).is_row(names)


def _format(path: Path) -> str:
    name = path.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix


def read_items(path: Path, mapping: Mapping[str, str], how: How | None = None) -> Iterator[ItemRow | Rejected]:
    """The items in `path`, in order, one row at a time, whatever format it has.

    `mapping` is column -> "item_id", "title", "image" or "ignore"; columns with usual names need none. A row that has
    the id of the one before and no title (a variant in an export of a shop) repeats it.
    Raises InputError, when the first row is asked for, if the file or its columns cannot be used, and later
    if the file turns out to be cut short or if nothing but rejects comes.
    """
    how = how or How()
    with open_table(path, ITEM_FIELDS, how.source) as table:
        layout = table.layouts(ITEM_FIELDS, mapping)
        yield from _patient(_items(table.records, layout, table.parsers, how))


def _items(records: Iterator[Record | Rejected], layout: Any, parsers: Mapping[str, Parser], how: How) -> Read[ItemRow]:
    last, product = None, None
    for record in records:
        if isinstance(record, Rejected):
            yield record
            continue
        _, columns, cells, _ = record
        this = cells[columns.index(how.going_on)] if how.going_on in columns else None
        row = _item(record, layout(columns), parsers, how, last, goes_on=this is not None and this == product)
        if isinstance(row, ItemRow):
            last, product = row, this
        yield row


def _item(
    record: Record, layout: Layout, parsers: Mapping[str, Parser], how: How, last: ItemRow | None, *, goes_on: bool
) -> ItemRow | Rejected:
    line, _, cells, _ = record
    values = {name: cells[index] for name, index in layout.fields.items()}
    try:
        title = values.get("title")
        nameless = last is not None and (title is None or not str(title).strip())
        if last and nameless and goes_on and _is_missing(values.get("item_id")):
            how.counts["rows with neither an id nor a title", "they add nothing to the item before."] += 1
            return replace(last, line=line)
        item_id = to_text("item_id", values.get("item_id"))
        item_id = whole(item_id) if how.whole_items else item_id
        if last and nameless and item_id == last.item_id:
            how.counts["rows with the id of the row before and no title", "they add nothing to that item."] += 1
            return replace(last, line=line)
        attributes = {
            name: value
            for index, name in layout.others
            if (value := parsers.get(name, to_attribute)(cells[index])) is not None
        }
        if last and nameless and goes_on:
            how.counts["rows without a title", "they are variants of the item before, with its title."] += 1
            title, attributes = last.title, {**last.attributes, **attributes}
        return ItemRow(
            line,
            item_id=item_id,
            title=to_title(title, how.missing),
            attributes=attributes,
            image=to_image(values.get("image")),
        )
    except (ValueError, RecursionError) as error:
        return _reject(record, error)


def read_interactions(
    path: Path, mapping: Mapping[str, str], how: How | None = None
) -> Iterator[InteractionRow | Rejected]:
    """The interactions in `path`, in order; see `read_items`.

    `mapping` is column -> "user_id", "item_id", "timestamp", "rating" or "ignore". A row may hold several items, and
    what came before them. A time that is not there is None; one that cannot be read is a reject.
    """
    how = how or How()
    with open_table(path, INTERACTION_FIELDS, how.source) as table:
        layout = table.layouts(INTERACTION_FIELDS, mapping)
        yield from _patient(_interactions(table.records, layout, how))


def _interactions(records: Iterator[Record | Rejected], layout: Any, how: How) -> Read[InteractionRow]:
    known, histories = None, Histories()
    user = item = time = rating = earlier = order = clock = None
    before: tuple[Any, Any] = (None, None)  # order and user of the last row
    dated = None
    dated_before: tuple[Any, Any] = (None, None)  # order and time of the last row
    whole_users, whole_items, apart = how.whole_users, how.whole_items, how.apart
    for record in records:
        if isinstance(record, Rejected):
            yield record
            continue
        line, columns, cells, _ = record
        if columns is not known:
            known, at = columns, layout(columns).fields
            order, dated = (columns.index(one) if one in columns else None for one in (how.going_on, how.dated_by))
            user, item, time, rating, earlier = map(at.get, ("user_id", "item_id", "timestamp", "rating", "earlier"))
            clock = columns.index(how.clock) if how.clock in columns else None
        try:
            if clock is not None and time is not None:
                cells = [*cells]
                cells[time] = on_day(cells[time], cells[clock])
            if dated is not None and time is not None:
                if _is_missing(cells[time]) and cells[dated] == dated_before[0]:
                    cells = [*cells]
                    cells[time] = dated_before[1]
                    how.counts["rows without a time of their own", "they have that of the row before."] += 1
                dated_before = (cells[dated], cells[time])
            owner = None if user is None else cells[user]
            if order is not None:
                if _is_missing(owner) and cells[order] == before[0]:
                    owner = before[1]
                    how.counts["rows without a user of their own", "they go on with the row before."] += 1
                before = (cells[order], owner)
            user_id = to_text("user_id", owner)
            user_id = whole(user_id) if whole_users else user_id
            value = None if item is None else cells[item]
            several = together(value, apart)
            if several is None and earlier is None:
                item_id = to_text("item_id", value)
                yield InteractionRow(
                    line,
                    user_id,
                    whole(item_id) if whole_items else item_id,
                    None if time is None else _timestamp(cells[time], how),
                    None if rating is None else _rating(cells[rating], how),
                )
                continue
            rows = []
            if earlier is not None:
                steps = histories.new(user_id, together(cells[earlier], " ") or [])
                rows = [InteractionRow(line, user_id, to_text("item_id", one), None, None) for one in steps]
            ids = [to_text("item_id", one) for one in ([value] if several is None else several)]
            if not ids and earlier is None:
                raise ValueError("item_id is empty")
            times = _each(None if time is None else cells[time], len(ids))
            ratings = _each(None if rating is None else cells[rating], len(ids))
            for one, moment, stars in zip(ids, times, ratings, strict=True):
                at_time = None if time is None else _timestamp(moment, how)
                if earlier is None or histories.goes_on(user_id, one, timed=at_time is not None):
                    rows.append(InteractionRow(line, user_id, one, at_time, _rating(stars, how)))
            if whole_items:
                rows = [replace(row, item_id=whole(row.item_id)) for row in rows]
        except (ValueError, RecursionError) as error:
            yield _reject(record, error)
        else:
            yield from rows


def _each(value: Any, count: int) -> list[Any]:
    """A cell's value for each of `count` items: its own where there is a list of as many."""
    values = together(value, None)
    return values if values is not None and len(values) == count else [value] * count


def _timestamp(value: Any, how: How) -> str | None:
    if how.century and isinstance(value, str):
        value = with_century(value)
    try:
        return parse_timestamp(value, day_first=how.day_first)
    except ValueError as error:
        if _is_missing(value) or is_no_time(value):
            how.counts["rows without a time", "they stand before the others in their histories."] += 1
            return None
        raise ValueError(f"timestamp {shown(value)} {error}") from None


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip() in NO_ID
    return value is None or (isinstance(value, float) and math.isnan(value))


def _rating(value: Any, how: How) -> float | None:
    try:
        rating = to_rating(value)
    except ValueError:
        if how.rated:
            raise
        how.counts["ratings that are no numbers", "their rows count without one."] += 1
        return None
    return None if how.unrated and rating == -1 else rating


def read_items_of_log(path: Path, mapping: Mapping[str, str], how: How) -> Iterator[ItemRow | Rejected]:
    """The items that a file of interactions tells of, each once, as its first row has it.

    Columns that change from row to row of one item belong to the interactions and are left out. Rows that cannot be
    used are passed over: reading the interactions hands them out.
    """
    first: dict[str, ItemRow] = {}
    changing: dict[str, set[str]] = {}
    repeated: set[str] = set()
    for row in read_items(path, mapping, how):
        if isinstance(row, Rejected):
            continue
        known = first.setdefault(row.item_id, row)
        if known is not row:
            repeated.add(row.item_id)
            for name in known.attributes.keys() | row.attributes.keys():
                if known.attributes.get(name) != row.attributes.get(name):
                    changing.setdefault(name, set()).add(row.item_id)
    changes = {name for name, items in changing.items() if len(items) > 0.05 * len(repeated)}
    if changes:
        listed = ", ".join(printable(name)[:40] for name in sorted(changes))
        of = "columns that change from row to row of one item"
        how.counts[of, f"they count for nothing: {listed}."] = len(changes)
    for row in first.values():
        yield replace(row, attributes={name: one for name, one in row.attributes.items() if name not in changes})


def _patient(rows: Read[Row]) -> Read[Row]:
    """The same rows. Raises InputError if the first thousand are rejects for one and the same reason."""
    reasons: set[str] = set()
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Rejected):
            yield row
            yield from rows
            return
        reasons.add(kind_of(row.reason))
        if number == _PATIENCE and len(reasons) == 1:
            raise InputError(
                f"the first {number:,} rows all fail for one reason: line {row.line}: {row.reason}. That row "
                f"is {shown(row.raw)}. Next: see that the separator and the header fit the rows, and which column is "
                "which (--map COLUMN=FIELD)."
            )
        yield row


def _reject(record: Record, error: Exception) -> Rejected:
    line, columns, cells, raw = record
    if raw is None:
        raw = json.dumps(dict(zip(columns, cells, strict=True)), ensure_ascii=False, default=_as_text)
    return rejected(line, str(error), raw)


def _as_text(value: object) -> str:
    return f"({len(value):,} bytes)" if isinstance(value, bytes) else str(value)
