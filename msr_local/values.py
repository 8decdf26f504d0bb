"""The values of an item's attributes as words: lists as lists, markup and numbers for machines left out."""

from __future__ import annotations

import ast
import html
import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from .text import printable

_EMPTY = {"", "\\n", "nan", "none", "null", "n/a", "na", "(no genres listed)"}
_LITERAL = 20_000  # characters of a list written as text; longer ones are read as prose
_VECTOR = 8  # numbers in a row that are an embedding, if any is no whole number
_TAGS = (
    "a|abbr|b|big|blockquote|body|br|center|code|dd|div|dl|dt|em|figure|font|footer|form|h[1-6]|head|header|hr|html"
    "|i|iframe|img|input|label|li|link|main|meta|nav|ol|p|pre|script|section|small|span|strong|style|sub|sup|table"
    "|tbody|td|th|thead|tr|u|ul|video"
)
_TAG = re.compile(rf"</?({_TAGS})(\s[^<>]*)?/?>|<!--|<!doctype", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_BLOCK = re.compile(r"\{[^{}]*\}")
_DECLARED = re.compile(  # a property of a style sheet, the first or another one of a block
    r"[{;]\s*(?:--[\w-]+|(?:-[a-z]+-)?(?:align|animation|background|border|bottom|box|clear|color|content|cursor|display"
    r"|fill|filter|flex|float|font|gap|grid|height|justify|left|letter|line|list|margin|max|min|opacity|order|outline"
    r"|overflow|padding|position|right|stroke|text|top|transform|transition|vertical|visibility|white|width|word|z)"
    r"(?:-[a-z-]+)?)\s*:"
)
_SELECTOR = re.compile(rf"(?:{_TAGS})?(?:[.#:*@\[>+~,]\S*)?", re.IGNORECASE)
_EMPTIED = re.compile(r"@[a-z-]+[^{};@]*\{\s*\}")
_UNREAD = ("style", "script")
_NAMES = ("name", "Name", "title", "Title", "label", "Label")  # of something in a dictionary, likeliest first


def values(value: Any) -> list[str]:
    """The values of an attribute as plain text, each on one line; none where the attribute says nothing.

    Lists written as text (of Python, of JSON, or as "a|b|c") are taken apart. Of things with an id and a name, the name
    is told. Embeddings, markup and style sheets are left out.
    """
    return [text for one in _parts(value) if (text := words(str(one))).casefold() not in _EMPTY]


def words(text: str) -> str:
    """`text` on one line, without markup and style sheets."""
    if "<" in text and _TAG.search(text):
        reader = _Reader()
        reader.feed(text)
        reader.close()
        text = " ".join(reader.read)
    elif "&" in text:
        text = unescaped(text)
    if "{" in text:
        text = _unstyled(text)
    return printable(text)


def _unstyled(text: str) -> str:
    """`text` without the rules of style sheets ("p.note { color: red }"). Prose stays, in braces as well."""
    kept, end = [], 0
    for block in _BLOCK.finditer(text):
        if not _DECLARED.search(block[0]):
            continue
        before = text[end : block.start()].split()
        told = len(before)
        while told and _SELECTOR.fullmatch(before[told - 1]):
            told -= 1
        if told < len(before) or ";" in block[0]:
            kept += before[:told]
            end = block.end()
    return _EMPTIED.sub(" ", " ".join([*kept, text[end:]]))


def is_markup(text: str) -> bool:
    """Whether there are tags or entities of HTML in `text`."""
    return ("<" in text and _TAG.search(text) is not None) or ("&" in text and _ENTITY.search(text) is not None)


def unescaped(text: str) -> str:
    """`text` with HTML's entities as the characters they stand for, also where they were written twice (`&amp;#39;`).

    Only those that end with a semicolon: "AT&T" and "?a=1&copy=2" are what they look like.
    """
    for _ in range(2):
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return text


class _Reader(HTMLParser):
    """Collects what a browser would show."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self._inside = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._inside += tag in _UNREAD

    def handle_endtag(self, tag: str) -> None:
        self._inside -= tag in _UNREAD and self._inside > 0

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.read.append(data)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        read = _literal(value.strip())
        if read is None:
            yield from value.split("|") if "|" in value else (value,)
            return
        value = read
    if isinstance(value, dict):
        if name := _name(value):
            yield name
            return
        for key, one in value.items():
            if one is True:
                yield key
            elif one not in (None, False, "", [], {}):
                yield from _parts(one)
    elif isinstance(value, (list, tuple, set)):
        some = sorted(value, key=str) if isinstance(value, set) else list(value)  # the same in each process
        if not _vector(some):
            for one in some:
                deeper = isinstance(one, (list, tuple, dict)) or (isinstance(one, str) and one[:1] == "{")
                yield from _parts(one) if deeper else (one,)
    elif isinstance(value, float) and value.is_integer():
        yield int(value)
    elif value is not None:
        yield value


def _name(value: dict[Any, Any]) -> str | None:
    """The name of something that a dictionary identifies: {"id": 18, "name": "Drama"}."""
    keys = {str(key).casefold() for key in value}
    if not any(key == "id" or key.endswith("_id") for key in keys):
        return None
    return next((one for key in _NAMES if isinstance(one := value.get(key), str) and one.strip()), None)


def _literal(text: str) -> Any:
    """The list or dictionary that `text` writes out; None where it is neither."""
    if text[:1] + text[-1:] not in ("[]", "{}", "()") or len(text) > _LITERAL:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, (list, tuple, dict, set)) else None
    inner = text[1:-1].split()
    numbers = [one for one in inner if re.fullmatch(r"[-+.\deE]+,?", one)]
    return [] if len(numbers) >= _VECTOR and len(numbers) == len(inner) else None  # as NumPy prints an array


def _vector(some: list[Any]) -> bool:
    numbers = [one for one in some if isinstance(one, (int, float)) and not isinstance(one, bool)]
    return (
        len(numbers) == len(some) >= _VECTOR
        and any(isinstance(one, float) and (math.isnan(one) or not one.is_integer()) for one in numbers)
    )  # fmt: skip
