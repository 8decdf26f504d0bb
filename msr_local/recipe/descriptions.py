"""The description of an item: title, attributes and caption, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..store.rows import Item
from ..text import printable

_TITLE, _VALUE = 160, 160  # characters of one part
_ROOM = 640  # characters of a whole description: a catalogue with 300 columns must not flood a prompt


def describe(item: Item, caption: str | None = None, room: int = _ROOM) -> str:
    """`Title. Key: value, value. Picture: caption`, in about `room` characters.

    The title always stays, then the caption, then attributes in the order of the file as far as they fit;
    a part that is cut ends in an ellipsis.
    """
    title = shorten(printable(item.title), min(_TITLE, max(10, room)))
    picture = shorten(f"Picture: {printable(caption)}", max(10, room - len(title))) if caption else ""
    left = room - len(title) - len(picture)
    parts = [title, *_attributes(item.attributes, left), picture]
    return " ".join(part if part.endswith((".", "!", "?", "…")) else part + "." for part in parts if part)


def attribute_values(value: Any) -> list[str]:
    """The values of an attribute: lists as they are, "a|b|c" taken apart."""
    values = value if isinstance(value, list) else str(value).split("|")
    return [text for text in (printable(str(one)) for one in values) if text]


def _attributes(attributes: dict[str, Any], room: int) -> Iterator[str]:
    for name, value in attributes.items():
        text = ", ".join(attribute_values(value))
        if not text or "://" in text or text == "(no genres listed)":
            continue
        part = f"{shorten(printable(name).replace('_', ' ').capitalize(), 40)}: {shorten(text, _VALUE)}"
        room -= len(part) + 2
        if room < 0:
            return
        yield part


def shorten(text: str, room: int) -> str:
    """At most `room` characters, cut between words and marked with an ellipsis."""
    if len(text) <= room:
        return text
    cut = text[: room - 1]
    return (cut[: cut.rindex(" ")] if " " in cut[room // 2 :] else cut).rstrip(" ,.;:") + "…"
