"""Rows written for other programs: Parquet, CSV or JSON lines, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import written_whole

FORMATS = (".parquet", ".csv", ".jsonl")
_BATCH = 10_000  # rows in memory


def check_format(path: Path) -> None:
    """Raises `InputError` where `write_rows` could not tell the format of the file from its name."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            f"{path}: unknown format. Next: a name that ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
        )


def write_rows(path: Path, columns: Mapping[str, type], rows: Iterable[Sequence[Any]]) -> int:
    """Write a table with these `columns` (name: str, int or float), whole or not at all; the number of its rows.

    Raises `InputError` for a name of another format, `FileError` where the disk refuses.
    """
    check_format(path)
    write = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}[path.suffix.lower()]
    count = 0

    def counted() -> Iterator[Sequence[Any]]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    with written_whole(path) as part:
        write(part, columns, counted())
    return count


def _csv(path: Path, columns: Mapping[str, type], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for row in rows:  # before Python 3.13, a lone \r gets no quotes and parts the row
            (quoting if any("\r" in cell for cell in row if isinstance(cell, str)) else writer).writerow(row)


def _jsonl(path: Path, columns: Mapping[str, type], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")


def _parquet(path: Path, columns: Mapping[str, type], rows: Iterator[Sequence[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            arrays = [pa.array(cells, kind.type) for cells, kind in zip(zip(*batch, strict=True), schema, strict=True)]
            writer.write_table(pa.table(arrays, schema=schema))
