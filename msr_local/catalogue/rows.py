"""What the readers hand out: a typed row, or the reason why a row is not one.

The row types are the store's own, so that rows go in as they come out of a file.
"""

from __future__ import annotations

from typing import TypeAlias

from ..store.rows import InteractionRow, ItemRow, Rejected

__all__ = ["Attribute", "InteractionRow", "ItemRow", "Rejected", "rejected"]

Attribute: TypeAlias = str | int | float | bool | list["Attribute"]

RAW_LIMIT = 10_000


def rejected(line: int, reason: str, raw: str) -> Rejected:
    """The row `raw` refused: at most `RAW_LIMIT` characters of it are kept, without its line end."""
    return Rejected(line, reason, raw.rstrip("\r\n")[:RAW_LIMIT])
