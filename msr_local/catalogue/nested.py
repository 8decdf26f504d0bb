"""Rows that hold their steps as objects: a session with its events, an order with its products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from ..store.rows import Rejected
from ..text import printable
from .delimited import Record
from .fields import Fields, is_row, lay_out

_LOOK = 50  # rows in which steps are looked for


def unfolded(records: Iterator[Record | Rejected], fields: Fields, notes: list[str]) -> Iterator[Record | Rejected]:
    """The records; for one that holds its rows as a list of objects, these, each with what is beside the list.

    Of a value that both have, that of the object counts.
    """
    head: list[Record | Rejected] = []
    for record in records:
        head.append(record)
        if not isinstance(record, Rejected) and (key := steps_in(dict(zip(*record[1:3], strict=True)), fields)):
            notes.append(f"the rows are the objects under {printable(key)[:40]!r}, with what is beside them.")
            for one in chain(head, records):
                yield from [one] if isinstance(one, Rejected) else _steps(one, key)
            return
        if len(head) == _LOOK:
            break
    yield from chain(head, records)


def steps_in(value: Mapping[str, Any], fields: Fields) -> str | None:
    """The key of an object, itself no row, under which there are objects that are rows with what is beside them."""
    for key, steps in value.items():
        if isinstance(steps, list) and steps and all(isinstance(step, dict) for step in steps):
            beside = [name for name in value if name != key]
            names = [*map(str, steps[0])]
            told = "item_id" in lay_out(names, fields, {}).fields
            if told and is_row([*beside, *names], fields) and not is_row(beside, fields):
                return key
    return None


def _steps(record: Record, key: str) -> Iterator[Record]:
    line, columns, cells, raw = record
    value = dict(zip(columns, cells, strict=True))
    steps = value.pop(key, None)
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        yield record  # which is rejected: it has no item
        return
    for step in steps:
        row = value | {str(name): one for name, one in step.items()}
        yield line, tuple(row), list(row.values()), raw
