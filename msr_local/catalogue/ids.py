"""Lists of ids: one a line, or a column of a table."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..store.rows import Rejected
from .containers import BROKEN, broken
from .decoding import open_text
from .delimited import numbered
from .fields import INTERACTION_FIELDS, ITEM_FIELDS, lay_out, shown, to_text
from .tables import Source, open_table

_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")


def read_ids(path: Path, field: str) -> list[str]:
    """The ids in `path`, each once, in order: one a line, or in a table the column that is "item_id" or "user_id".

    Its suffix says whether it is a table. Raises InputError if the file, its column or a row cannot be used.
    """
    if not any(suffix.lower() in _TABLES for suffix in path.suffixes):
        return _lines(path)
    fields = {field: {**INTERACTION_FIELDS, **ITEM_FIELDS}[field]}
    found: dict[str, None] = {}
    with open_table(path, fields, Source()) as table:
        for record in table.records:
            if isinstance(record, Rejected):
                raise InputError(f"line {record.line}: {record.reason}")
            line, columns, cells, _ = record
            at = lay_out(columns, fields, {}).fields.get(field)
            if at is None:
                listed = ", ".join(shown(name) for name in columns)
                raise InputError(
                    f"line {line}: found no column for {field} among {listed}. Next: name it {field}, or write one id "
                    "a line into a .txt file."
                )
            try:
                found[to_text(field, cells[at])] = None
            except ValueError as error:
                raise InputError(f"line {line}: {error}") from error
    return list(found)


def _lines(path: Path) -> list[str]:
    try:
        with open_text(path) as text:
            return list(dict.fromkeys(line.strip() for _, line in numbered(text) if not line.isspace()))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error.__cause__
    except BROKEN as error:
        raise InputError(f"{path}: {broken(error)}") from error
