"""Rows as the rest of the project sees them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..arrays import Items, Vector


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the catalogue; `image` is a checked picture with its SHA-256, if there is one."""

    item_id: str
    title: str
    attributes: dict[str, Any] = field(default_factory=dict)
    image: Path | None = None
    image_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Interaction:
    """One step of a user's history."""

    item: Item
    timestamp: str | None = None
    rating: float | None = None


@dataclass(frozen=True, slots=True)
class Preference:
    """The summary after one block of a user's history; `block` counts from the user's first block, at 0."""

    block: int
    summary: str
    start: str | None
    end: str | None
    items: tuple[str, ...]
    key: str


class ListedItem(NamedTuple):
    """One item of a list that was recommended; `probability` is None where no calibration was fitted."""

    item_id: str
    title: str
    probability: float | None
    score: float
    p_yes: float


@dataclass(frozen=True, slots=True)
class Score:
    """The log-odds of one user's question about one item."""

    item_id: str
    log_odds: float
    p_yes: float
    coverage: float
    key: str


@dataclass(frozen=True, slots=True)
class LearnedRow:
    """What was learned about ranking, as it is kept: `towers` is NumPy's .npz, the others are JSON.

    `since` is when the histories and texts were read that it was learned from.
    """

    key: str
    fusion: dict[str, Any]
    facts: dict[str, Any]
    item_ids: list[str]
    towers: bytes
    since: str


@dataclass(frozen=True, slots=True)
class Log:
    """All interactions as flat arrays of shape [N], by user and in time order; indices into the lists of ids."""

    item_ids: list[str]
    user_ids: list[str]
    users: Items
    items: Items
    times: Vector  # seconds since 1970; NaN where the source has no times


@dataclass(frozen=True, slots=True)
class ItemRow:
    """A good row of an items file; `image` is text as the file has it, not yet a path, or the picture itself."""

    line: int
    item_id: str
    title: str
    attributes: dict[str, Any]
    image: str | bytes | None


@dataclass(frozen=True, slots=True)
class InteractionRow:
    """A good row of an interactions file; `timestamp` is None where the source has no time."""

    line: int
    user_id: str
    item_id: str
    timestamp: str | None
    rating: float | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be used, kept as it was in the file; `line` counts from 1."""

    line: int
    reason: str
    raw: str


# What is one row's own in a reason: what is quoted, a path, a number.
_OWN = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S*[/\\]\S*|\d+")


def kind_of(reason: str) -> str:
    """The reason of a reject without what is its own, so that rows which fail alike have the same."""
    return _OWN.sub("…", reason)
