"""Recurrent preference summaries (MLLM-MSR, section 4.2): summary of blocks 1..k-1 + block k -> 1..k.

Blocks are counted from the user's first interaction, so that a new interaction leaves all earlier blocks as
they were. A long history starts late, at a block that moves on by half a window at a time: a summary then
costs between half and all of `history / block_size` blocks, and most new interactions recompute only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..store.rows import Interaction
from .words import content_words


@dataclass(frozen=True, slots=True)
class Block:
    """`block_size` consecutive interactions; the last block of a history may be shorter."""

    index: int
    interactions: tuple[Interaction, ...]

    @property
    def start(self) -> str | None:
        return self.interactions[0].timestamp

    @property
    def end(self) -> str | None:
        return self.interactions[-1].timestamp


def blocks(history: Sequence[Interaction], block_size: int = 3, window: int = 30) -> list[Block]:
    """The blocks to summarise, oldest first, of at most the last `window` interactions (in whole blocks)."""
    cut = [
        Block(index, tuple(history[start : start + block_size]))
        for index, start in enumerate(range(0, len(history), block_size))
    ]
    return cut[_first_block(len(history), block_size, window) :]


def summarised(count: int, block_size: int = 3, window: int = 30) -> int:
    """How many interactions `blocks` takes of a history of `count`: the latest, from half the window to all of it."""
    return count - _first_block(count, block_size, window) * block_size


def _first_block(count: int, block_size: int, window: int) -> int:
    most = max(1, window // block_size)
    stride = max(1, most // 2)
    return max(0, -(-(-(-count // block_size) - most) // stride) * stride)


def changes(before: str, after: str) -> tuple[list[str], list[str]]:
    """Content words of a summary that are new against the one before, and those that are gone, in reading order."""
    old, new = content_words(before), content_words(after)
    return [word for key, word in new.items() if key not in old], [w for key, w in old.items() if key not in new]
