"""Rows that hold more than one step: lists in cells, and histories that grow from row to row."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any

_NAMES = ("itemid", "productid", "asin", "sku", "item", "product", "id")  # of an item in an object, likeliest first
_LITERAL = 100_000  # characters of a list that is written as text


def together(value: Any, apart: str | None) -> list[Any] | None:
    """The values of a cell that holds several: a list, one written as text, or text with `apart` between.

    None if it holds one. Of objects, the id or item that each names.
    """
    if isinstance(value, str):
        text = value.strip()
        if text[:1] == "[" and text[-1:] == "]" and len(text) <= _LITERAL:
            return _literal(text)
        if apart is None:
            return None
        return [part.strip() for part in text.split(apart) if part.strip()]
    if isinstance(value, list | tuple):
        return [_named(one) for one in value]
    return None


def _literal(text: str) -> list[Any] | None:
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return [_named(one) for one in found] if isinstance(found, list) else None
    words = text[1:-1].replace(",", " ").split()  # as NumPy prints an array
    return words if words and all(word.isdecimal() for word in words) else None


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        keys = {str(key).replace("_", "").casefold(): key for key in reversed(value)}
        return next((value[keys[name]] for name in _NAMES if name in keys), value)
    return value


class Histories:
    """What is known of each user's steps, so that of a list which grows from row to row only the new ones count."""

    def __init__(self) -> None:
        self._known: dict[str, list[Any]] = {}
        self._after: dict[str, int] = {}

    def new(self, user: str, steps: Sequence[Any]) -> list[Any]:
        """Those of `steps` that are not yet known; `steps` are all that a user took before a row, or the last."""
        known, steps = self._known.setdefault(user, []), list(steps)
        at = _find(known, steps)
        if at >= 0:
            self._after[user] = at + len(steps)
            return []
        sizes = range(min(len(known), len(steps)), -1, -1)
        shared = next(size for size in sizes if known[len(known) - size :] == steps[:size])
        known += steps[shared:]
        self._after[user] = len(known)
        return steps[shared:]

    def goes_on(self, user: str, item: Any, *, timed: bool) -> bool:
        """Whether `item`, taken after the steps of `new`, is a new step; one with a time always is."""
        known, after = self._known[user], self._after[user]
        if not timed and after < len(known) and known[after] == item:
            return False
        if after == len(known):
            known.append(item)
        self._after[user] = after + 1
        return True


def _find(known: list[Any], steps: list[Any]) -> int:
    """Where `steps` stand in `known` in one piece, the last place first; -1 if they do not."""
    for start in range(len(known) - len(steps), -1, -1):
        if known[start : start + len(steps)] == steps:
            return start
    return -1
