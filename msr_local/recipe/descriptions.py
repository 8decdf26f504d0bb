"""The description of an item: title, attributes and caption, in one line, within a budget of tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from ..store import histories
from ..store.rows import Item
from ..store.workspace import Workspace
from ..text import printable
from ..values import values, words
from . import columns

TOKENS = 64  # of a description, unless the workspace has another budget
_LEAST = 4
_TITLE = 0.5  # share of the budget that a title may take where there is more to say
_CAPTION = 0.75  # share of what is left that a caption may take where there are attributes
_NAME = 8  # tokens of a column's name
_SETTING = "describe"
_PIECE = re.compile(r"\d|[^\W\d_]+|[^\w\s]|_")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WIDE = 0x2E80  # from here on (Chinese, Japanese, Korean) a character is two tokens or so


class Descriptions:
    """How the items of a workspace are described: which columns, and in how many tokens."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        kept: dict[str, Any] = workspace.setting(_SETTING) or {}
        self.tokens: int = kept.get("tokens") or TOKENS
        self.chosen: list[str] = kept.get("columns") or []
        self._found: tuple[object, columns.Columns] | None = None

    @property
    def order(self) -> Sequence[str]:
        """The columns that are shown, the first ones first: those that were chosen, else the most telling.

        As they were when somebody asked for `columns` last, as recall does before each list.
        """
        return self.chosen or (self._found[1] if self._found else self.columns).order

    @property
    def columns(self) -> columns.Columns:
        """What each column is in the workspace as it is now: a site runs on while files bring others."""
        now = histories.revision(self._workspace)
        if self._found is None or self._found[0] != now:
            self._found = now, columns.current(self._workspace)
        return self._found[1]

    @property
    def line(self) -> int:
        """Tokens of an item in a list of several."""
        return max(_LEAST, self.tokens // 2)

    @property
    def rooms(self) -> tuple[int, ...]:
        """Budgets to try, one after the other, until a prompt fits."""
        return tuple(max(_LEAST, self.tokens >> n) for n in range(5))

    def of(self, item: Item, caption: str | None = None, room: int | None = None) -> str:
        """The description of an item in about `room` tokens, by default as many as the workspace says."""
        return describe(item, caption, room or self.tokens, self.order)


def choose(workspace: Workspace, names: Sequence[str] | None, tokens: int | None) -> None:
    """Keep which columns describe an item ([]: the most telling) and in how many tokens; None changes nothing."""
    kept = workspace.setting(_SETTING) or {}
    new = {
        **kept,
        **({} if names is None else {"columns": list(names)}),
        **({} if tokens is None else {"tokens": tokens}),
    }
    if new != kept:
        workspace.set_setting(_SETTING, new)


def describe(
    item: Item, caption: str | None = None, room: int = TOKENS, order: Sequence[str] | None = None
) -> str:  # fmt: skip
    """`Title. Key: value, value. Picture: caption`, in about `room` tokens.

    The title always stays (of one that is only markup, the id), then the caption, then attributes in the given order
    (None: that of the file) as far as they fit. What is cut ends in an ellipsis.
    """
    names = item.attributes if order is None else order
    more = caption or any(values(item.attributes.get(name)) for name in names)
    title = shorten(words(item.title) or printable(item.item_id), max(_LEAST, int(room * _TITLE)) if more else room)
    left = room - tokens(title)
    picture = ""
    if caption:
        most = left * _CAPTION if item.attributes else left
        picture = shorten(f"Picture: {words(caption)}", max(_LEAST, int(most)))
    parts = [title, *_attributes(item.attributes, left - tokens(picture), names), picture]
    return " ".join(part if part.endswith((".", "!", "?", "…")) else part + "." for part in parts if part)


def _attributes(attributes: dict[str, Any], room: int, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        shown = values(attributes.get(name))
        head = f"{shorten(heading(name), _NAME)}:"
        left = room - tokens(head) - 1
        text = _fitting(shown, left)
        if text:
            yield f"{head} {text}"
            room = left - tokens(text)


def heading(name: str) -> str:
    """A column's name as words: "release_year" and "releaseYear" are "Release year"."""
    return _HUMP.sub(" ", printable(name).replace("_", " ")).strip().capitalize()


def _fitting(shown: Sequence[str], room: int) -> str:
    """As many whole values as fit; of the first one, a head at least where there is some room."""
    if not shown or room < _LEAST:
        return ""
    kept: list[str] = []
    for text in shown:
        if tokens(", ".join([*kept, text])) > room:
            return ", ".join(kept) + "…" if kept else shorten(text, room)
        kept.append(text)
    return ", ".join(kept)


def tokens(text: str) -> int:
    """About how many tokens a language model reads `text` as: rather too many than too few, without asking one."""
    count = 0
    for piece in _PIECE.findall(text):
        if ord(piece[0]) >= _WIDE:
            count += 2 * len(piece)
        else:
            count += 1 + max(0, math.ceil((len(piece) - 5) / 3))
    return count


@lru_cache(1024)  # the lines of a history come again with every candidate
def shorten(text: str, room: int) -> str:
    """At most about `room` tokens of `text`, cut between words and marked with an ellipsis."""
    if tokens(text) <= room:
        return text
    least, most = 0, len(text)
    while least < most:  # the longest head that leaves a token for the ellipsis
        middle = (least + most + 1) // 2
        least, most = (middle, most) if tokens(text[:middle]) < room else (least, middle - 1)
    cut = text[:least]
    if least < len(text) and not text[least].isspace() and " " in cut[least // 2 :]:
        cut = cut[: cut.rindex(" ")]
    return (cut.rstrip(" ,.;:") or cut.strip()) + "…"
