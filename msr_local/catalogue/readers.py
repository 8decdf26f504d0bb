"""Files of other programs, read as typed rows. What cannot be read is handed out too, with the reason."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias

from ..errors import InputError
from ..store.rows import InteractionRow, ItemRow, Rejected
from ..text import printable, storable
from .delimited import Line, Record, first_line, numbered, open_text, read_records, split_header
from .fields import (
    INTERACTION_FIELDS,
    ITEM_FIELDS,
    Attribute,
    Fields,
    Layout,
    check_columns,
    clean,
    lay_out,
    rejected,
    shown,
    to_attribute,
    to_image,
    to_rating,
    to_text,
)
from .timestamps import parse_timestamp

FORMATS = (".csv", ".tsv", ".txt", ".dat", ".item", ".inter", ".json", ".jsonl", ".ndjson", ".parquet")

_FOLDERS = (
    ("movies.csv", "ratings.csv"),  # MovieLens
    ("movies.dat", "ratings.dat"),  # MovieLens, older
    ("*.item", "*.inter"),  # RecBole
    ("*_titles.csv", "*_pairs.tsv"),  # MicroLens
    ("items.*", "interactions.*"),
)
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
_MOVIES_DAT = ("item_id", "title", "genres")
_RATINGS_DAT = ("user_id", "item_id", "rating", "timestamp")
_PAIRS_LINE = re.compile(r"\d+\t *\d[^\t]*", re.ASCII)
_PAIRS_COLUMNS = ("user_id", "item_id")

_JSON = json.JSONDecoder(strict=False)
# Objects with keys of their own are looked through this far for what the columns are.
_JSON_HEAD = 1000
_JSON_CHUNK = 1_000_000
_JSON_GAP = " \t\r\n,"
_JSON_RESUME = re.compile(r"\n[ \t\r]*\{|\}\s*,\s*\{")

_Parser: TypeAlias = Callable[[Any], "Attribute | None"]


def find_sources(items: Path, interactions: Path | None) -> tuple[Path, Path]:
    """The items file and the interactions file: as given, or found in `items` if that is a folder.

    Raises InputError if a path is missing, or if the folder does not hold just one pair that is known.
    """
    for path in (items, interactions):
        if path is not None and not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if interactions is not None:
        for path in (items, interactions):
            if path.is_dir():
                raise InputError(f"{path} is a folder: name two files, or one folder alone")
        return items, interactions
    if not items.is_dir():
        raise InputError(f"{items}: name the interactions file too, or a folder that holds both files")
    for patterns in _FOLDERS:
        found = [sorted(path for path in items.glob(pattern) if _format(path) in FORMATS) for pattern in patterns]
        if all(len(paths) == 1 for paths in found):
            return found[0][0], found[1][0]
        if all(found):
            names = ", ".join(path.name for paths in found for path in paths)
            raise InputError(f"{items}: more than one pair of files is possible ({names}): name the two files")
    looked_for = ", ".join(" with ".join(patterns) for patterns in _FOLDERS)
    raise InputError(f"{items}: no known pair of files in this folder. Looked for {looked_for}.")


def read_columns(path: Path) -> tuple[str, ...]:
    """The names of the columns of `path`. Raises InputError if it cannot be read."""
    with _open_table(path, ()) as table:
        return tuple(name.strip() for name in table.columns)


def read_items(path: Path, mapping: Mapping[str, str]) -> Iterator[ItemRow | Rejected]:
    """The items in `path`, in order, one row at a time; its suffix says the format (see `FORMATS`, also .gz).

    `mapping` is column -> "item_id", "title", "image" or "ignore"; columns with usual names need none.
    Raises InputError, when the first row is asked for, if the file or its columns cannot be used, and later
    if the file turns out to be cut short.
    """
    with _open_table(path, _MOVIES_DAT) as table:
        layout = table.layouts(ITEM_FIELDS, mapping)
        for record in table.records:
            if isinstance(record, Rejected):
                yield record
            else:
                yield _item(record, layout(record[1]), table.parsers)


def read_interactions(path: Path, mapping: Mapping[str, str]) -> Iterator[InteractionRow | Rejected]:
    """The interactions in `path`, in order; see `read_items`.

    `mapping` is column -> "user_id", "item_id", "timestamp", "rating" or "ignore".
    """
    with _open_table(path, _RATINGS_DAT) as table:
        layout = table.layouts(INTERACTION_FIELDS, mapping)
        has_time = "timestamp" in layout(table.columns).fields
        known = None
        for record in table.records:
            if isinstance(record, Rejected):
                yield record
                continue
            line, columns, cells, _ = record
            if columns is not known:
                known, at = columns, layout(columns).fields
                user, item, time, rating = map(at.get, ("user_id", "item_id", "timestamp", "rating"))
            try:
                row = InteractionRow(
                    line,
                    to_text("user_id", None if user is None else cells[user]),
                    to_text("item_id", None if item is None else cells[item]),
                    _timestamp(None if time is None else cells[time]) if has_time else None,
                    None if rating is None else to_rating(cells[rating]),
                )
            except (ValueError, RecursionError) as error:
                yield _reject(record, error)
            else:
                yield row


def read_ids(path: Path, field: str) -> list[str]:
    """The ids in `path`, each once, in order: one a line, or in a table the column that is "item_id" or "user_id".

    Its suffix says whether it is a table. Raises InputError if the file, its column or a row cannot be used.
    """
    found: dict[str, None] = {}
    if _format(path) not in _TABLES:
        with _named(path), open_text(path) as text:
            return list(dict.fromkeys(line.strip() for _, line in numbered(text) if not line.isspace()))
    names = {**INTERACTION_FIELDS, **ITEM_FIELDS}[field]
    with _open_table(path, ()) as table:
        for record in table.records:
            if isinstance(record, Rejected):
                raise InputError(f"line {record.line}: {record.reason}")
            line, columns, cells, _ = record
            at = lay_out(columns, {field: names}, {}).fields.get(field)
            if at is None:
                listed = ", ".join(printable(name)[:40] for name in columns[:40])
                raise InputError(
                    f"line {line}: found no column for {field} among {listed}. Next: name it {field}, or write one id "
                    "a line into a .txt file."
                )
            try:
                found[to_text(field, cells[at])] = None
            except ValueError as error:
                raise InputError(f"line {line}: {error}") from error
    return list(found)


def _item(record: Record, layout: Layout, parsers: Mapping[str, _Parser]) -> ItemRow | Rejected:
    line, _, cells, _ = record
    values = {name: cells[index] for name, index in layout.fields.items()}
    try:
        return ItemRow(
            line,
            item_id=to_text("item_id", values.get("item_id")),
            title=to_text("title", values.get("title")),
            attributes={
                name: value
                for index, name in layout.others
                if (value := parsers.get(name, to_attribute)(cells[index])) is not None
            },
            image=to_image(values.get("image")),
        )
    except (ValueError, RecursionError) as error:
        return _reject(record, error)


def _timestamp(value: Any) -> str:
    try:
        return parse_timestamp(value)
    except ValueError as error:
        quoted = "" if value is None or not str(value).strip() else shown(value) + " "
        raise ValueError(f"timestamp {quoted}{error}") from None


def _reject(record: Record, error: Exception) -> Rejected:
    line, columns, cells, raw = record
    if raw is None:
        raw = json.dumps(dict(zip(columns, cells, strict=True)), ensure_ascii=False, default=str)
    return rejected(line, str(error), raw)


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of one file. `columns` are those of the first rows, where each has its own (JSON)."""

    columns: tuple[str, ...]
    records: Iterator[Record | Rejected]
    parsers: Mapping[str, _Parser] = field(default_factory=dict)

    def layouts(self, fields: Fields, mapping: Mapping[str, str]) -> Callable[[tuple[str, ...]], Layout]:
        check_columns(self.columns, fields, mapping)
        return lru_cache(maxsize=256)(lambda columns: lay_out(columns, fields, mapping))


def _format(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


@contextmanager
def _open_table(path: Path, dat_columns: tuple[str, ...]) -> Iterator[_Table]:
    with _named(path):
        if _format(path) not in FORMATS:
            raise InputError(f"unknown file format. Known formats: {', '.join(FORMATS)}")
        if _format(path) == ".parquet":
            with path.open("rb") as binary:
                yield _parquet_table(binary)
        else:
            with open_text(path) as text:
                yield _text_table(_format(path), text, dat_columns)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What is wrong with the file is told with its name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error.__cause__
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _text_table(suffix: str, text: TextIO, dat_columns: tuple[str, ...]) -> _Table:
    if suffix in (".json", ".jsonl", ".ndjson"):
        start = _array_start(text) if suffix == ".json" else None
        return _json_table(_json_lines(text) if start is None else _json_array(text, start))
    lines = numbered(text)
    number, first = first_line(lines)
    if suffix in (".item", ".inter"):
        return _recbole_table(first, lines)
    if suffix == ".dat" and "::" in first:
        everything = chain([(number, first)], lines)
        return _Table(dat_columns, read_records(everything, dat_columns, "::", quotes=False))
    if suffix == ".tsv" and _PAIRS_LINE.fullmatch(first.strip()):
        return _Table(_PAIRS_COLUMNS, _microlens_pairs(chain([(number, first)], lines)))
    names, delimiter = split_header(first, lines, "\t" if suffix == ".tsv" else None)
    columns = tuple(names)
    return _Table(columns, read_records(lines, columns, delimiter))


def _recbole_table(header: str, lines: Iterator[Line]) -> _Table:
    typed = [cell.strip().rpartition(":") for cell in header.split("\t")]
    columns = tuple(name or kind for name, _, kind in typed)
    parsers = {name: _RECBOLE_TYPES[kind] for name, _, kind in typed if kind in _RECBOLE_TYPES}
    return _Table(columns, read_records(lines, columns, "\t", quotes=False), parsers)


def _number(text: str) -> Attribute | None:
    try:
        return to_attribute(float(text))
    except ValueError:
        return to_attribute(text)


_RECBOLE_TYPES: Mapping[str, _Parser] = {
    "token": to_attribute,
    "token_seq": lambda text: text.split() or None,
    "float": _number,
    "float_seq": lambda text: [number for part in text.split() if (number := _number(part)) is not None] or None,
}


def _microlens_pairs(lines: Iterator[Line]) -> Iterator[Record | Rejected]:
    """A user, a tab, and what they chose in time order: numbers with blanks between."""
    for number, text in lines:
        user, tab, items = text.partition("\t")
        if tab and not items.isspace():
            for item in items.split():
                if item.isdecimal():
                    yield number, _PAIRS_COLUMNS, (user, item), text
                else:
                    yield rejected(number, f"item_id {shown(item)} is not a number", text)
        elif not text.isspace():
            yield rejected(number, "row is not a user, a tab and item numbers", text)


def _json_table(records: Iterator[Record | Rejected]) -> _Table:
    head = list(islice(records, _JSON_HEAD))
    columns = dict.fromkeys(name for record in head if not isinstance(record, Rejected) for name in record[1])
    if not columns:
        raise InputError("contains no JSON objects. Needed: one object per line, or one array of objects (.json)")
    return _Table(tuple(columns), chain(head, records))


def _json_object(line: int, value: Any, raw: str) -> Record | Rejected:
    if not isinstance(value, dict):
        return rejected(line, "row is not a JSON object", raw)
    if "\\u" in raw:  # escapes can spell what cannot be stored
        value = clean(value)
    return line, tuple(value), list(value.values()), raw


def _json_lines(text: TextIO) -> Iterator[Record | Rejected]:
    for number, line in numbered(text):
        if line.isspace():
            continue
        try:
            record = _json_object(number, _JSON.decode(line), line)
        except (ValueError, RecursionError):
            record = rejected(number, "row is not valid JSON", line)
        yield record


def _array_start(text: TextIO) -> int | None:
    """The line of the `[` that opens an array, which is then read; None, with nothing read, if there is none."""
    line = 1
    while (character := text.read(1)).isspace():
        line += character == "\n"
    if character == "[":
        return line
    text.seek(0)
    return None


def _json_array(text: TextIO, line: int) -> Iterator[Record | Rejected]:
    """The elements of an array, some of it in memory at a time; after a broken one, on from the next `{`."""
    buffer, position, end, ended = "", 0, 0, False
    while True:
        while end < len(buffer) and buffer[end] in _JSON_GAP:
            end += 1
        line += buffer.count("\n", position, end)
        position = end
        if len(buffer) - position < _JSON_CHUNK and not ended:
            more = text.read(_JSON_CHUNK)
            buffer, position, end, ended = buffer[position:] + storable(more), 0, 0, not more
            continue
        if position == len(buffer):
            yield rejected(line, "the array is never closed", "")
            return
        if buffer[position] == "]":
            break
        try:
            value, end = _JSON.raw_decode(buffer, position)
            record = _json_object(line, value, buffer[position:end])
        except (ValueError, RecursionError):
            resume = _JSON_RESUME.search(buffer, position + 1)
            end = resume.end() - 1 if resume else len(buffer)
            record = rejected(line, "row is not valid JSON", buffer[position:end])
        yield record
    if rest := buffer[position + 1 :].strip():
        yield rejected(line, "text after the end of the array", rest)


def _parquet_table(binary: BinaryIO) -> _Table:
    import pyarrow as pa
    from pyarrow import parquet

    def cells(column: Any) -> list[Any]:
        if pa.types.is_timestamp(column.type):  # nanoseconds and time zones need packages that may not be there
            column = column.cast(pa.timestamp("us"), safe=False)
        return [clean(value) for value in column.to_pylist()]

    def records() -> Iterator[Record]:
        line = 0
        try:
            for batch in file.iter_batches(batch_size=1024):
                for row in zip(*map(cells, batch.columns), strict=True):
                    line += 1
                    yield line, columns, row, None
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise InputError(f"the rows after row {line} cannot be read: {error}") from error

    try:
        file = parquet.ParquetFile(binary)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"not a Parquet file: {error}") from error
    columns = tuple(storable(name) for name in file.schema_arrow.names)
    return _Table(columns, records())
