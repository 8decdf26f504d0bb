"""Delimited text, from bytes to records. A broken row costs itself and nothing else.

Not the csv module: one quote that is never closed makes it swallow the rest of a file, it stops at long
fields, and on Python 3.10 at NUL bytes.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
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

DELIMITERS = (",", "\t", ";", "|")

# A quoted cell that has not ended after so much text was not meant to be one.
_QUOTED_LINES = 1000
_QUOTED_CHARS = 1_000_000

_LINE_END = re.compile(r"\n|\r(?=[^\n])")

_CP1252 = [bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256)]


def _decode_as_cp1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(_CP1252[byte] for byte in error.object[error.start : error.end]), error.end


# Per byte, not per file: one stray byte in a UTF-8 file must not garble every other accent in it.
codecs.register_error("msr-local-cp1252", _decode_as_cp1252)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """`path`, gzip-compressed if its name ends in .gz, as lines with their ends untouched.

    UTF-16 by its byte order mark, else UTF-8 in which bytes that are not valid are read as cp1252. Lines end as
    the first one does: in a file of `\\n` a lone `\\r` is text.
    Raises OSError, EOFError or zlib.error, here or while reading.
    """
    with io.BufferedReader(gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb") as binary:
        start = binary.peek(1)
        if start[:1000].count(0) > len(start[:1000]) / 4 and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError("not a text file, or UTF-16 without a byte order mark. Next: save it as UTF-8.")
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            encoding, errors = "utf-16", "replace"
        else:
            encoding, errors = "utf-8-sig", "msr-local-cp1252"
        end = _LINE_END.search(start.decode(encoding, errors))
        with io.TextIOWrapper(binary, encoding, errors, newline=end[0] if end else "\n") as text:
            yield text


def numbered(text: TextIO) -> Iterator[Line]:
    """The physical lines of `text`, made storable."""
    # Decoded text has no lone surrogates: only NULs have to be looked for.
    for number, line in enumerate(text, 1):
        yield number, storable(line) if "\0" in line else line


def first_line(lines: Iterator[Line]) -> Line:
    """Take the first line that is not blank off `lines`. Raises InputError if there is none."""
    for number, text in lines:
        if not text.isspace():
            return number, text
    raise InputError("the file is empty")


def split_header(text: str, lines: Iterator[Line], delimiter: str | None) -> tuple[list[str], str]:
    """The column names in `text`, with more of `lines` if a quote demands it, and the delimiter.

    None as the delimiter: the one that makes the most columns. Raises InputError if a quote is never closed.
    """
    if delimiter is None:
        delimiter = max(DELIMITERS, key=lambda candidate: len(_Row(candidate).read(text).cells))
    row = _Row(delimiter).read(text)
    for _, more in islice(lines, _QUOTED_LINES) if row.open else ():
        if not row.read(more).open:
            break
    if row.open:
        raise InputError("a quote opened in the header is never closed")
    return row.cells, delimiter


def read_records(
    lines: Iterator[Line], columns: tuple[str, ...], delimiter: str, *, quotes: bool = True
) -> Iterator[Record | Rejected]:
    """The records in `lines`: short ones are padded, those wider than `columns` rejected, blank ones skipped.

    Without `quotes`, a quote is a character like any other. In tab-separated text it is one too, wherever it
    does not open or close a whole cell.
    """
    width = len(columns)
    for number, text in lines:
        if quotes and '"' in text:
            yield from _quoted_records((number, text), lines, columns, delimiter)
        elif not text.isspace():
            cells = text.rstrip("\r\n").split(delimiter)
            if len(cells) == width:
                yield number, columns, cells, text
            else:
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
    while waiting:
        number, text = waiting.popleft()
        if text.isspace():
            continue
        row, texts, size = _Row(delimiter).read(text), [text], len(text)
        # A line that leaves a cell open has closed one before it: so the width ends vain searches early.
        while row.open and not row.malformed and len(row.cells) < len(columns):
            if len(texts) > len(waiting):
                waiting.extend(islice(lines, 1))
            if len(texts) > min(len(waiting), _QUOTED_LINES) or size > _QUOTED_CHARS:
                break
            texts.append(waiting[len(texts) - 1][1])
            size += len(texts[-1])
            row.read(texts[-1])
        broken = row.open or (row.malformed and len(texts) > 1)
        if delimiter == "\t" and (broken or row.malformed or _is_literal(texts, len(columns))):
            yield _fit(number, columns, text.rstrip("\r\n").split("\t"), text)
        elif broken:
            yield rejected(number, "a quote opened here is never closed", text)
        else:
            for _ in texts[1:]:
                waiting.popleft()
            yield _fit(number, columns, row.cells, "".join(texts))


def _is_literal(texts: list[str], width: int) -> bool:
    """Whether lines that quotes join into one tab-separated record are each a whole one without."""
    return len(texts) > 1 and all(text.count("\t") == width - 1 for text in texts)


class _Row:
    """One record, read line by line: the `cells` that have ended, and what the quotes say so far.

    `open`: a quoted cell has not ended. `malformed`: text follows a closing quote; it is kept in the cell.
    """

    __slots__ = ("_delimiter", "_parts", "cells", "malformed", "open")

    def __init__(self, delimiter: str) -> None:
        self.cells: list[str] = []
        self.open = False
        self.malformed = False
        self._delimiter = delimiter
        self._parts: list[str] = []

    def read(self, text: str) -> _Row:
        line = text.rstrip("\r\n")
        start = 0
        while start >= 0:
            if not self.open and not line.startswith('"', start):
                end = line.find(self._delimiter, start)
                self.cells.append(line[start:] if end < 0 else line[start:end])
            else:
                start += not self.open
                quote = _closing_quote(line, start)
                self.open = quote < 0
                if self.open:
                    self._parts.append(text[start:])
                    break
                end = line.find(self._delimiter, quote + 1)
                tail = line[quote + 1 :] if end < 0 else line[quote + 1 : end]
                self.malformed = self.malformed or tail != ""
                self.cells.append("".join([*self._parts, line[start:quote]]).replace('""', '"') + tail)
                self._parts = []
            start = end if end < 0 else end + len(self._delimiter)
        return self


def _closing_quote(line: str, start: int) -> int:
    while (quote := line.find('"', start)) >= 0 and line.startswith('"', quote + 1):
        start = quote + 2
    return quote
