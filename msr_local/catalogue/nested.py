"""Rows that hold their steps as objects: a session with its events, an order with its products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ..store.rows import Rejected
from ..text import printable
from .delimited import Record
from .fields import INTERACTION_FIELDS, ITEM_FIELDS, Naming, lay_out

_LOOK = 50  # rows in which steps are looked for


def unfolded(records: Iterator[Record | Rejected], naming: Naming, notes: list[str]) -> Iterator[Record | Rejected]:
    """The records; for one that holds its rows as a list of objects, these, each with what is beside the list.

    Of a value that both have, that of the object counts.
    """
    head: list[Record | Rejected] = []
    for record in records:
        head.append(record)
        value = {} if isinstance(record, Rejected) else dict(zip(*record[1:3], strict=True))
        if key := steps_in(value, naming):
            notes.append(f"the rows are the objects under {printable(key)[:40]!r}, with what is beside them.")
            for one in chain(head, records):
                yield from [one] if isinstance(one, Rejected) else _steps(one, key)
            return
        if len(head) == _LOOK:
            break
    yield from chain(head, records)


def steps_in(value: Mapping[str, Any], naming: Naming) -> str | None:
    """The key of an object, itself no row, under which there are objects that are rows with what is beside them."""
    for key, steps in value.items():
        if key in naming.mapping or not _are_objects(steps):
            continue
        beside = [name for name in value if name != key]
        whole = naming.is_row([*beside, *map(str, steps[0])]) and not naming.is_row(beside)
        if whole and ("user_id" in naming.fields or not _is_item(beside, naming.mapping)):
            return key
    return None


def _is_item(beside: Sequence[str], mapping: Mapping[str, str]) -> bool:
    """Whether it is an item that only lacks a title: its genres have one. An order has an id too, and a buyer."""
    item, step = (lay_out(beside, fields, mapping).fields for fields in (ITEM_FIELDS, INTERACTION_FIELDS))
    return "item_id" in item and "user_id" not in step


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _steps(record: Record, key: str) -> Iterator[Record]:
    line, columns, cells, raw = record
    value = dict(zip(columns, cells, strict=True))
    steps = value.pop(key, None)
    if not _are_objects(steps):
        yield record  # as it is: what it lacks is said where it is read
        return
    for step in steps:
        row = value | {str(name): one for name, one in step.items()}
        yield line, tuple(row), list(row.values()), raw
