"""One file, from its path to records: container, encoding and layout, each known in a place of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias

from ..errors import InputError
from ..store.rows import Rejected
from ..text import printable, storable
from . import headers
from .containers import BROKEN, broken, open_unpacked
from .decoding import detect_encoding, open_text
from .delimited import (
    DELIMITERS,
    Line,
    Record,
    best_delimiter,
    first_line,
    numbered,
    read_records,
    split_header,
    split_line,
)
from .fields import Attribute, Fields, Layout, Naming, check_columns, clean, key_of, lay_out, shown, to_attribute
from .nested import unfolded
from .objects import object_records

Parser: TypeAlias = Callable[[Any], "Attribute | None"]

_HEAD = 1000  # records that are looked through for what the columns are, where each has its own
_SEEN = 30  # lines that tell the layout of a file without a header
_RARE = ("\x01", "^", "~", " ")  # delimiters that count where they make well-known names
_SEPARATOR = re.compile(r'\ufeff?"?sep=(.)"?\s*', re.IGNORECASE)  # Excel's


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a file before it is read: its columns if it has no header, its encoding, and the mapping.

    The `mapping` (column -> field or "ignore") may be of columns that this file does not have.
    """

    columns: tuple[str, ...] = ()
    encoding: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file. `columns` are those of the first rows, where each has its own (JSON).

    `notes` are what there is to say of the file; `encoding` is what it is decoded with, if it is text; `headless` says
    that the columns have no names in the file.
    """

    columns: tuple[str, ...]
    records: Iterator[Record | Rejected]
    parsers: Mapping[str, Parser] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    encoding: str | None = None
    headless: bool = False

    def layouts(self, fields: Fields, mapping: Mapping[str, str]) -> Callable[[tuple[str, ...]], Layout]:
        """The layout for the columns of a record. Raises InputError if `mapping` or the columns do not fit."""
        check_columns(self.columns, fields, mapping)
        return lru_cache(maxsize=256)(lambda columns: lay_out(columns, fields, mapping))


@contextmanager
def open_table(path: Path, fields: Fields, source: Source) -> Iterator[Table]:
    """`path` as a table of items or interactions (`fields`). Raises InputError, also while it is read."""
    try:
        with open_unpacked(path) as binary:
            if path.suffix.lower() == ".parquet" or binary.peek(4).startswith(b"PAR1"):
                yield _parquet_table(binary, Naming(fields, source.mapping))
                return
        notes: list[str] = []
        name = source.encoding
        if name is None:
            found = detect_encoding(path)
            name, notes = found.name, [found.note] if found.note else []
        with open_text(path, name) as text:
            yield _text_table(text, fields, source, notes, name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error.__cause__
    except UnicodeError as error:
        raise InputError(f"{path}: not text in the encoding that was named ({error}).") from error
    except BROKEN as error:
        raise InputError(f"{path}: {broken(error)}") from error


def read_columns(path: Path, fields: Fields, source: Source) -> tuple[tuple[str, ...], bool]:
    """The names of the columns of `path`, and whether they are in the file. Raises InputError if it cannot be read."""
    with open_table(path, fields, source) as table:
        return tuple(name.strip() for name in table.columns), not table.headless


def _text_table(text: TextIO, fields: Fields, source: Source, notes: list[str], encoding: str) -> Table:
    lines = numbered(text)
    number, first = first_line(lines)
    if not source.columns and first.lstrip("\ufeff \t")[:1] in ("{", "["):
        text.seek(0)
        naming = Naming(fields, source.mapping)
        records = unfolded(object_records(text, naming, notes), naming, notes)
        return _object_table(records, notes, encoding)
    delimiter = None
    if separator := _SEPARATOR.fullmatch(first):
        delimiter = separator[1]
        number, first = first_line(lines)
    table = _delimited(number, first, lines, delimiter, fields, source.columns)
    if table.headless and not source.columns:
        notes.append(f"no header: the columns are taken as {', '.join(name for name in table.columns if name)}.")
    return replace(table, notes=[*notes, *table.notes], encoding=encoding)


def _delimited(
    number: int, first: str, lines: Iterator[Line], delimiter: str | None, fields: Fields, given: tuple[str, ...]
) -> Table:
    if given:
        sign = delimiter or _sign_for(first, given)
        return Table(given, read_records(chain([(number, first)], lines), given, sign), headless=True)
    if first.split("\t")[0].strip().rpartition(":")[2] in _RECBOLE_TYPES:
        typed = [cell.strip().rpartition(":") for cell in first.split("\t")]
        columns = tuple(name or kind for name, _, kind in typed)
        parsers = {name: _RECBOLE_TYPES[kind] for name, _, kind in typed if kind in _RECBOLE_TYPES}
        return Table(
            columns, read_records(lines, columns, "\t", quotes=False, header=first.strip("\r\n").split("\t")), parsers
        )
    sign = delimiter or _usual_sign(first)
    cells = split_line(first, sign)
    if not headers.has_names(cells):
        head = list(islice(lines, _SEEN))
        if (below := headers.header_below(line for _, line in head)) is not None:
            above, (line, text) = below + 1, head[below]
            note = f"the header is line {line}: what stands above it is passed over."
            table = _delimited(line, text, chain(head[above:], lines), delimiter, fields, given)
            return replace(table, notes=[note, *table.notes])
        found = headers.well_known(first, [first, *(line for _, line in head)], fields)
        if found is None and headers.has_values(cells):
            raise headers.no_header(first, number)
        lines = chain([(number, first)] if found else [], head, lines)
        if found and not found.delimiter:
            return Table(found.columns, headers.steps(lines), headless=True)
        if found:
            records = read_records(lines, found.cells or found.columns, found.delimiter, quotes=found.quotes)
            return Table(found.columns, found.reshape(records) if found.reshape else records, headless=True)
    names, sign = split_header(first, lines, sign)
    columns = tuple(names)
    head = list(islice(lines, _SEEN))
    rows = [line for _, line in head if not line.isspace()]
    notes = []
    if other := _sign_of_rows(rows, len(columns), sign):
        notes = [f"the header is parted by {sign!r}, the rows by {other!r}: read as such."]
    return Table(columns, read_records(chain(head, lines), columns, other or sign, header=columns), notes=notes)


def _sign_of_rows(rows: list[str], width: int, sign: str) -> str | None:
    """The delimiter of the rows, if they cannot have the header's and another one fits all of them."""
    if width < 2 or not rows or any(len(split_line(row, sign)) > 1 for row in rows):
        return None
    fitting = (one for one in DELIMITERS if all(len(split_line(row, one)) == width for row in rows))
    return next(fitting, None)


def _usual_sign(first: str) -> str:
    """The delimiter of a header; one that is rare only where no other makes two names, and it makes known ones."""
    usual = best_delimiter(first)
    if len(split_line(first, usual)) > 1:
        return usual
    for rare in _RARE:
        if sum(key_of(cell) in headers.KNOWN for cell in first.strip("\r\n").split(rare)) > 1:
            return rare
    return usual


def _sign_for(first: str, given: tuple[str, ...]) -> str:
    """The delimiter that makes a cell for each given name. Raises InputError if none does, or if it is a header."""
    if headers.has_names(split_line(first, _usual_sign(first))):
        raise InputError(
            f"--columns names the columns of a file without a header, but this one has a header: "
            f"{printable(first)[:80]}. Next: --map COLUMN=FIELD."
        )
    rows = {sign: split_line(first, sign) for sign in DELIMITERS}
    rows |= {sign: first.strip("\r\n").split(sign) for sign in _RARE}
    if fitting := [sign for sign, cells in rows.items() if len(cells) == len(given)]:
        return fitting[0]
    cells = max(rows.values(), key=len)
    raise InputError(f"--columns names {len(given)} columns, but the first row has {len(cells)}: {shown(cells)}.")


def _number(text: str) -> Attribute | None:
    try:
        return to_attribute(float(text))
    except ValueError:
        return to_attribute(text)


_RECBOLE_TYPES: Mapping[str, Parser] = {
    "token": to_attribute,
    "token_seq": lambda text: text.split() or None,
    "float": _number,
    "float_seq": lambda text: [number for part in text.split() if (number := _number(part)) is not None] or None,
}


def _object_table(records: Iterator[Record | Rejected], notes: list[str], encoding: str | None = None) -> Table:
    head = list(islice(records, _HEAD))
    columns = dict.fromkeys(name for record in head if not isinstance(record, Rejected) for name in record[1])
    if not columns:
        why = f" Line {head[0].line}: {head[0].reason}." if head and isinstance(head[0], Rejected) else ""
        raise InputError(
            f"contains no JSON objects.{why} Next: make it one object a line, or one array of objects, with a key for "
            "each column."
        )
    return Table(tuple(columns), chain(head, records), notes=notes, encoding=encoding)


def _parquet_table(binary: BinaryIO, naming: Naming) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    def cells(column: Any) -> list[Any]:
        if pa.types.is_timestamp(column.type):  # nanoseconds and time zones need packages that may not be there
            column = column.cast(pa.timestamp("us"), safe=False)
        if pa.types.is_map(column.type):
            return [clean(one if one is None else dict(one)) for one in column.to_pylist()]
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
    kinds = [one.type for one in file.schema_arrow]
    lists = [kind.value_type for kind in kinds if pa.types.is_list(kind) or pa.types.is_large_list(kind)]
    if any(map(pa.types.is_struct, lists)) and file.metadata.num_rows:
        notes: list[str] = []
        return _object_table(unfolded(records(), naming, notes), notes)
    return Table(columns, records())
