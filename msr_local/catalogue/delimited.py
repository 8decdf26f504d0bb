"""Delimited text, from bytes to records. A broken row costs itself and nothing else.

Not the csv module: one quote that is never closed makes it swallow the rest of a file, it stops at long
fields, and on Python 3.10 at NUL bytes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TextIO, TypeAlias

from ..errors import InputError
from ..store.rows import Rejected
from ..text import storable
from .fields import rejected

Line: TypeAlias = tuple[int, str]
"""A physical line: its number, from 1, and its text with the line end."""

Record: TypeAlias = tuple[int, tuple[str, ...], Sequence[Any], "str | None"]
"""First line, column names, one cell a column, the text in the file (None where the source is not text).

A plain tuple, because a million are made. Text in a cell is storable.
"""

DELIMITERS = (",", "\t", ";", "|", "::")

HEADER_AGAIN = "this is the header again, as where files were put one after the other"

# A quoted cell that has not ended after so much text was not meant to be one.
_QUOTED_LINES = 1000
_QUOTED_CHARS = 1_000_000
_CLOSING = re.compile(r'(?:\\.|""|[^"\\]|\\$)*"(?!")', re.DOTALL)
_DOUBLE_COLON = re.compile(r'[^,;|\t":]*::')
_BLANKS = re.compile(" *")
_ESCAPED = re.compile(r'\\(["\\])|""')


def numbered(text: TextIO) -> Iterator[Line]:
    """The physical lines of `text`, made storable."""
    # Decoded text has no lone surrogates: only NULs have to be looked for, and marks where files were joined.
    for number, line in enumerate(text, 1):
        if line[0] == "\ufeff":
            line = line.lstrip("\ufeff") or "\n"
        yield number, storable(line) if "\0" in line else line


def first_line(lines: Iterator[Line]) -> Line:
    """Take the first line that is not blank off `lines`. Raises InputError if there is none."""
    for number, text in lines:
        if not text.isspace():
            return number, text
    raise InputError("the file is empty")


def best_delimiter(text: str) -> str:
    """The delimiter that makes the most cells of a line; `::` where it comes first, comma if none makes any."""
    if _DOUBLE_COLON.match(text):
        return "::"
    return max(DELIMITERS, key=lambda candidate: len(split_line(text, candidate)))


def split_line(text: str, delimiter: str) -> list[str]:
    """The cells of one line; an open quote ends with it."""
    return _Row(delimiter).read(text).cells


def split_header(text: str, lines: Iterator[Line], delimiter: str | None) -> tuple[list[str], str]:
    """The column names in `text`, with more of `lines` if a quote demands it, and the delimiter.

    None as the delimiter: the one that makes the most columns. Raises InputError if a quote is never closed.
    """
    if delimiter is None:
        delimiter = best_delimiter(text)
    row = _Row(delimiter).read(text)
    for _, more in islice(lines, _QUOTED_LINES) if row.open else ():
        if not row.read(more).open:
            break
    if row.open:
        raise InputError("a quote opened in the header is never closed")
    return row.cells, delimiter


def read_records(
    lines: Iterator[Line], columns: tuple[str, ...], delimiter: str, *, quotes: bool = True, header: Sequence[str] = ()
) -> Iterator[Record | Rejected]:
    """The records in `lines`: short ones are padded, those wider than `columns` rejected, blank ones skipped.

    One of nothing but delimiters, as spreadsheets write below a table, is blank too.
    A row that is the `header` again, as where files were joined, is rejected: else it would be an item of that name.
    Without `quotes`, a quote is a character like any other. In tab-separated text it is one too, wherever it
    does not open or close a whole cell.
    """
    width, names = len(columns), list(header)
    for number, text in lines:
        if quotes and '"' in text:
            for record in _quoted_records((number, text), lines, columns, delimiter):
                if not isinstance(record, Rejected) and record[2] == names:
                    record = rejected(record[0], HEADER_AGAIN, record[3] or "")
                yield record
        elif not text.isspace():
            cells = text.rstrip("\r\n").split(delimiter)
            if cells == names:
                yield rejected(number, HEADER_AGAIN, text)
            elif len(cells) == width and cells[0]:
                yield number, columns, cells, text
            elif any(map(str.strip, cells)):
                yield _fit(number, columns, cells, text)


def _fit(number: int, columns: tuple[str, ...], cells: list[str], text: str) -> Record | Rejected:
    width = len(columns)
    if any(cells[width:]):
        return rejected(number, f"row has {len(cells)} cells, the header has {width}", text)
    return number, columns, cells[:width] + [""] * (width - len(cells)), text


def _quoted_records(
    first: Line, lines: Iterator[Line], columns: tuple[str, ...], delimiter: str
) -> Iterator[Record | Rejected]:
    """The record that begins with `first`, and those in the lines that were read in search of its end."""
    waiting = deque([first])
    width = len(columns)
    while waiting:
        number, text = waiting.popleft()
        if text.isspace():
            continue
        row, texts = _Row(delimiter).read(text), [text]
        if '\\"' in text and not row.fits(width):  # MySQL and crawls of book shops write a quote in quotes so
            row, texts = _whole_row(_Row(delimiter, escapes=True), text, waiting, lines, width)
            if not row.fits(width):
                row = _Row(delimiter).read(text)
        if not row.fits(width):
            row, texts = _whole_row(_Row(delimiter), text, waiting, lines, width)
        broken = row.open or (row.malformed and len(texts) > 1)
        if delimiter == "\t" and (broken or row.malformed or _is_literal(texts, width)):
            yield _fit(number, columns, text.rstrip("\r\n").split("\t"), text)
        elif broken:
            yield rejected(number, "a quote opened here is never closed", text)
        else:
            for _ in texts[1:]:
                waiting.popleft()
            yield _fit(number, columns, row.cells, "".join(texts))


def _whole_row(row: _Row, text: str, waiting: deque[Line], lines: Iterator[Line], width: int) -> tuple[_Row, list[str]]:
    """`row` with `text` read, and with as many more lines as its quotes ask for; these stay in `waiting`."""
    row.read(text)
    texts, size = [text], len(text)
    # A line that leaves a cell open has closed one before it: so the width ends vain searches early.
    while row.open and not row.malformed and len(row.cells) < width:
        if len(texts) > len(waiting):
            waiting.extend(islice(lines, 1))
        if len(texts) > min(len(waiting), _QUOTED_LINES) or size > _QUOTED_CHARS:
            break
        texts.append(waiting[len(texts) - 1][1])
        size += len(texts[-1])
        row.read(texts[-1])
    return row, texts


def _is_literal(texts: list[str], width: int) -> bool:
    """Whether lines that quotes join into one tab-separated record are each a whole one without."""
    return len(texts) > 1 and all(text.count("\t") == width - 1 for text in texts)


class _Row:
    """One record, read line by line: the `cells` that have ended, and what the quotes say so far.

    `open`: a quoted cell has not ended. `malformed`: text follows a closing quote; it is kept in the cell.
    With `escapes`, a backslash takes a quote's meaning away.
    """

    __slots__ = ("_delimiter", "_escapes", "_parts", "cells", "malformed", "open")

    def __init__(self, delimiter: str, *, escapes: bool = False) -> None:
        self.cells: list[str] = []
        self.open = False
        self.malformed = False
        self._delimiter = delimiter
        self._escapes = escapes
        self._parts: list[str] = []

    def fits(self, width: int) -> bool:
        return not self.open and not self.malformed and len(self.cells) == width

    def read(self, text: str) -> _Row:
        line = text.rstrip("\r\n")
        start = 0
        while start >= 0:
            if not self.open and line.startswith(" ", start):
                start = self._past_blanks(line, start)
            if not self.open and not line.startswith('"', start):
                end = line.find(self._delimiter, start)
                self.cells.append(line[start:] if end < 0 else line[start:end])
            else:
                start += not self.open
                quote = _closing_quote(line, start, self._escapes)
                self.open = quote < 0
                if self.open:
                    self._parts.append(text[start:])
                    break
                end = line.find(self._delimiter, quote + 1)
                tail = line[quote + 1 :] if end < 0 else line[quote + 1 : end]
                self.malformed = self.malformed or tail != ""
                quoted = "".join([*self._parts, line[start:quote]])
                self.cells.append(_unescaped(quoted, self._escapes) + tail)
                self._parts = []
            start = end if end < 0 else end + len(self._delimiter)
        return self

    def _past_blanks(self, line: str, start: int) -> int:
        """Where the quote is of a cell that is quoted after blanks, as in `1, "a, b"`; else `start`."""
        if self._delimiter in "\t ":
            return start
        opening = _blank(line, start)
        closing = _closing_quote(line, opening + 1, self._escapes) if line.startswith('"', opening) else -1
        after = _blank(line, closing + 1)
        whole = closing >= 0 and (after == len(line) or line.startswith(self._delimiter, after))
        return opening if whole else start


def _closing_quote(line: str, start: int, escapes: bool) -> int:
    if escapes:
        found = _CLOSING.match(line, start)
        return found.end() - 1 if found else -1
    while (quote := line.find('"', start)) >= 0 and line.startswith('"', quote + 1):
        start = quote + 2
    return quote


def _blank(line: str, start: int) -> int:
    """Where the blanks end that begin at `start`."""
    found = _BLANKS.match(line, start)
    return found.end() if found else start


def _unescaped(quoted: str, escapes: bool) -> str:
    return _ESCAPED.sub(lambda found: found[1] or '"', quoted) if escapes else quoted.replace('""', '"')
