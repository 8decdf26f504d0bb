"""Tables for other programs: what was written is what is read, in each format, or nothing is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from msr_local.catalogue.writers import FORMATS, write_rows
from msr_local.errors import InputError

COLUMNS = {"name": str, "rank": int, "p": float}
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
rows = st.lists(st.tuples(texts, st.integers(0, 99), st.none() | st.floats(-9, 9)), max_size=5)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return found
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file]
        return [
            {"name": one["name"], "rank": int(one["rank"]), "p": float(one["p"]) if one["p"] else None}
            for one in csv.DictReader(file)
        ]


@settings(max_examples=40)
@given(rows, st.sampled_from(FORMATS))
def test_what_was_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("out") / f"table{suffix}"
    assert write_rows(path, COLUMNS, rows) == len(rows)
    assert read(path) == [dict(zip(COLUMNS, row, strict=True)) for row in rows]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["\r", "a\rb", "a\r\nb", "a\nb", '"\r"'])
def test_line_ends_in_a_cell(tmp_path: Path, suffix: str, name: str) -> None:
    write_rows(tmp_path / f"table{suffix}", COLUMNS, [(name, 1, None), ("b", 2, 0.5)])
    found = read(tmp_path / f"table{suffix}")
    assert [one["name"] for one in found] == [name, "b"] and found[0]["p"] is None


@pytest.mark.parametrize("suffix", FORMATS)
def test_whole_or_not_at_all(tmp_path: Path, suffix: str) -> None:
    def broken() -> Any:
        yield ("a", 1, 0.5)
        raise KeyboardInterrupt

    path = tmp_path / f"table{suffix}"
    write_rows(path, COLUMNS, [("before", 1, None)])
    with pytest.raises(KeyboardInterrupt):
        write_rows(path, COLUMNS, broken())
    assert [one["name"] for one in read(path)] == ["before"]
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_another_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.parquet, \.csv or \.jsonl"):
        write_rows(tmp_path / "table.xlsx", COLUMNS, [])
