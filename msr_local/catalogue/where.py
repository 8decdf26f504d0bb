"""Conditions on items, as `category=shoes and (price<100 or "on sale"=yes)`: a small language of its own.

Nothing of it is ever run as a program or as SQL. A column is an attribute or `title`; a value is a word, or text in
quotes ('...' or "...", in which that quote is written twice). A list of values meets a comparison if any of them does,
and `!=` is the opposite of `=`. Numbers are compared as numbers, all else as text, without regard to case.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias
from unicodedata import normalize

from ..errors import InputError
from ..store import histories
from ..store.workspace import Workspace
from ..text import printable
from ..values import values, words
from .ids import read_ids
from .timestamps import day_order

_TOKEN = re.compile(
    r"""\s*(?:(?P<sign><=|>=|!=|==?|<|>)|(?P<bracket>[()])"""
    r"""|(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<word>[^\s()<>=!'"][^\s()<>=!]*)|(?P<wrong>\S))"""
)
_SIGNS: Mapping[str, Callable[[object, object], bool]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,  # type: ignore[operator]
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}
_AROUND = "$€£¥₹₩₽₺₴₫฿₪% \t\r\n\xa0\u202f"  # what stands around a number and changes nothing of its order
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?", re.ASCII)
_GROUPED_BY_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+,\d+", re.ASCII)
_ISO = re.compile(r"\d{4}-\d\d(-\d\d.*)?", re.ASCII)
_TITLE = "title"
_DEEPEST = 50  # brackets in brackets
_SHOWN = 12  # values or columns that an error names
_LONGEST = 40  # characters of each


@dataclass(frozen=True, slots=True)
class Comparison:
    """One column against one value; `sign` is one of = != < <= > >=."""

    column: str
    sign: str
    value: str

    def meets(self, known: Mapping[str, Sequence[str]]) -> bool:
        """Whether an item meets it, by its values {column: values}."""
        if self.sign == "!=":
            return not self._any("=", known[self.column])
        return self._any(self.sign, known[self.column])

    def _any(self, sign: str, found: Iterable[str]) -> bool:
        wanted = _comparable(self.value)
        return any(type(one) is type(wanted) and _SIGNS[sign](one, wanted) for one in map(_comparable, found))

    def comparisons(self) -> Iterator[Comparison]:
        """All comparisons in it."""
        yield self


@dataclass(frozen=True, slots=True)
class Several:
    """Conditions of which `every` one is to be met, or any."""

    parts: Sequence[Condition]
    every: bool

    def meets(self, known: Mapping[str, Sequence[str]]) -> bool:
        """As `Comparison.meets`."""
        return (all if self.every else any)(part.meets(known) for part in self.parts)

    def comparisons(self) -> Iterator[Comparison]:
        """All comparisons in it."""
        for part in self.parts:
            yield from part.comparisons()


Condition: TypeAlias = "Comparison | Several"


def parse(text: str) -> Condition:
    """The condition that `text` writes out; "and" goes before "or". Raises `InputError`, saying where it is wrong."""
    return _Parser(text).condition()


def meeting(workspace: Workspace, text: str) -> frozenset[str]:
    """The ids of the items that meet the condition `text`.

    Raises `InputError` for a condition that cannot be read, and for a column or value that no item has: it names those
    that there are.
    """
    condition = parse(text)
    asked = {one.column: one.column for one in condition.comparisons()}
    columns: dict[str, None] = {_TITLE: None}
    items = []
    for item_id, title, attributes in histories.attributes(workspace):
        columns |= dict.fromkeys(attributes)
        items.append((item_id, title, attributes))
    for name in asked:
        asked[name] = _column(name, columns)
    read: dict[str, list[str]] = {}

    def known(title: str, attributes: Mapping[str, object], column: str) -> list[str]:
        if column == _TITLE:
            return [words(title)]
        raw = attributes.get(column)
        if not isinstance(raw, str):
            return values(raw)
        if raw not in read:  # most values are those of many items
            read[raw] = values(raw)
        return read[raw]

    found = [
        {name: known(title, attributes, column) for name, column in asked.items()} for _, title, attributes in items
    ]
    for one in condition.comparisons():
        _check(one, [item[one.column] for item in found])
    return frozenset(item_id for (item_id, *_), item in zip(items, found, strict=True) if condition.meets(item))


def chosen(
    workspace: Workspace, where: str | None = None, only: Path | None = None, exclude: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> frozenset[str] | None:  # fmt: skip
    """The ids of the items that meet `where`, stand in the file `only`, and do not stand in `exclude`; None: all.

    `note` is told of ids that are not in the catalogue, and where nothing is left. Raises `InputError` as `meeting` and
    `read_ids`, and where no id of `only` is known.
    """
    if where is None and only is None and exclude is None:
        return None
    everything = frozenset(item_id for item_id, *_ in histories.attributes(workspace))
    left = everything if where is None else meeting(workspace, where)
    for path in filter(None, (only, exclude)):
        ids = read_ids(path, "item_id")
        unknown = [one for one in ids if one not in everything]
        if path is only and ids and len(unknown) == len(ids):
            histories.existing_item(workspace, unknown[0])  # raises, and names near ones
        if unknown:
            note(f"{path}: {len(unknown):,} of {len(ids):,} ids are no items of the workspace, {unknown[0]!r} first.")
        left = left & frozenset(ids) if path is only else left - frozenset(ids)
    if not left:
        note("No item is left to choose from. Next: a wider --where or --only, or a shorter --exclude.")
    return left


class _Parser:
    """Reads a condition from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [(one.lastgroup or "", one[one.lastgroup or 0]) for one in _TOKEN.finditer(text)]
        self._place = self._depth = 0

    def condition(self) -> Condition:
        found = self._either()
        if self._place < len(self._tokens):
            kind, text = self._tokens[self._place]
            hint = "a value of several words goes in quotes, or " if kind in ("word", "quoted") else ""
            raise self._wrong(f"{hint}'and' or 'or' is missing before {text!r}")
        return found

    def _either(self) -> Condition:
        return self._joined("or", lambda: self._joined("and", self._one, every=True), every=False)

    def _joined(self, word: str, part: Callable[[], Condition], *, every: bool) -> Condition:
        parts = [part()]
        while self._next() == ("word", word):
            self._place += 1
            parts.append(part())
        return parts[0] if len(parts) == 1 else Several(parts, every)

    def _one(self) -> Condition:
        if self._next() == ("bracket", "("):
            self._place += 1
            self._depth += 1
            if self._depth > _DEEPEST:
                raise self._wrong("too many brackets in brackets")
            found = self._either()
            if self._next() != ("bracket", ")"):
                raise self._wrong("a ')' is missing")
            self._place += 1
            self._depth -= 1
            return found
        column = self._take("a column", "word", "quoted")
        sign = self._take(f"one of = != < <= > >= after {column!r}", "sign").replace("==", "=")
        return Comparison(column, sign, self._take(f"a value after {column + sign!r}", "word", "quoted"))

    def _next(self) -> tuple[str, str]:
        kind, text = self._tokens[self._place] if self._place < len(self._tokens) else ("end", "")
        return kind, text.casefold() if kind == "word" else text

    def _take(self, what: str, *kinds: str) -> str:
        kind, text = self._tokens[self._place] if self._place < len(self._tokens) else ("end", "its end")
        if kind not in kinds:
            raise self._wrong(f"{what} is missing before {text if kind == 'end' else repr(text)}")
        self._place += 1
        return text[1:-1].replace(text[0] * 2, text[0]) if kind == "quoted" else text

    def _wrong(self, what: str) -> InputError:
        example = 'category=shoes and (price<100 or "on sale"=yes)'
        return InputError(f"--where {self._text!r}: {what}. Next: write it like {example}.")


def _comparable(text: str) -> float | str:
    """A number where `text` is one, else the text without regard to case, runs of blanks and ways to write an accent.

    "$1,299.00" and "1.299,00 €" are 1299, "12,5" is 12.5, "0,125" is 0.125 and "40%" is 40.
    """
    bare = text.strip(_AROUND)
    if _GROUPED.fullmatch(bare):
        bare = bare.replace(",", "")
    elif _GROUPED_BY_POINTS.fullmatch(bare):
        bare = bare.replace(".", "")
    try:
        number = float(bare.replace(",", ".", 1))
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) and "_" not in text else normalize("NFC", printable(text).casefold())


def _column(name: str, columns: Iterable[str]) -> str:
    """The column that is meant: spelt so, or else the only one that is but for upper and lower case."""
    alike = [one for one in columns if one == name] or [one for one in columns if one.casefold() == name.casefold()]
    if len(alike) == 1:
        return alike[0]
    raise InputError(f"--where: no item has a column {name!r}. There are: {_listed(columns)}. Next: one of these.")


def _check(one: Comparison, found: Sequence[Sequence[str]]) -> None:
    """Raises `InputError` for a value that no item has, or that nothing of the column can be compared with."""
    known = Counter(text for item in found for text in item)
    wanted = _comparable(one.value)
    there = {text: _comparable(text) for text in known}
    if one.sign in ("=", "!="):
        if wanted in there.values():
            return
        wrong = f"no item has {one.column} {one.value!r}"
    elif _ISO.fullmatch(one.value) and (other := next(filter(day_order, known), None)):
        raise InputError(
            f"--where: {one.column} holds dates like {printable(other)[:_LONGEST]!r}, which cannot be compared with "
            f"{one.value}. Next: write them as 2020-01-31 in the items' file and ingest it again."
        )
    elif any(type(text) is type(wanted) for text in there.values()):
        return
    elif isinstance(wanted, float):
        wrong = f"{one.column} holds no numbers to compare with {one.value}"
    else:
        wrong = f"{one.value!r} is no number, and {one.column} holds numbers only"
    near = get_close_matches(one.value.casefold(), [text.casefold() for text in known], n=3)
    alike = [text for text in known if text.casefold() in near]
    most = [text for text, _ in known.most_common(_SHOWN) if text not in alike]
    raise InputError(f"--where: {wrong}. There are: {_listed([*alike, *most], len(known))}. Next: one of these.")


def _listed(names: Iterable[str], count: int = 0) -> str:
    some = [printable(name)[:_LONGEST] for name in names]
    shown = some[:_SHOWN]
    left = max(count, len(some)) - len(shown)
    return ", ".join(shown) + (f" and {left:,} others" if left > 0 else "") if shown else "none"
