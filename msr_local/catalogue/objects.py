"""JSON in all the shapes that people keep it in, read as one object a row; and Python's way of writing it.

Lines, arrays, objects over several lines, arrays inside an object, objects by id, and pandas' columns.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TextIO

from ..store.rows import Rejected
from ..text import printable, storable
from .delimited import Line, Record, numbered
from .fields import Naming, clean, rejected
from .nested import steps_in

_JSON = json.JSONDecoder(strict=False)
_CHUNK = 1_000_000
_ELEMENT = 2**28  # characters of one element; a broken one is searched so far for where the next begins
_GAP = " \t\r\n,"
_MARKED = re.compile(r'\{\s*"\$')
_OBJECT = re.compile(r"\{\s*[\"}]")
_AFTER = re.compile(r"(?:\n[ \t\r]*|\}\s*,\s*)(?=\{)")  # where the next element may begin, before one is known
_COMMA = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)|,(?=\s*[}\]])', re.DOTALL)  # outside of strings, before a bracket
_LITERAL = 1_000_000  # characters of a Python literal
_LOOK = 50  # lines from which the shape is told

INVALID = "row is not valid JSON"


def object_records(text: TextIO, naming: Naming, notes: list[str]) -> Iterator[Record | Rejected]:
    """The objects in `text`, as records whose columns are their keys; what is odd about them goes to `notes`.

    `naming` tells rows from what is around them. Broken ones are handed out as rejects. Notes come with the rows.
    """
    lines = numbered(text)
    head = [(number, line) for number, line in islice(lines, _LOOK)]
    filled = [line for _, line in head if not line.isspace()]
    if not filled:
        return
    if filled[0].lstrip()[0] == "[":
        text.seek(0)
        yield from _elements(text, array=True)
    elif len(filled) > 1 and any(line.startswith("{") and _decoded(line, []) is not None for line in filled):
        yield from _lines(chain(head, lines), notes)
    elif (only := _decoded(filled[0], notes)) is not None and len(head) < _LOOK:
        yield from _unwrapped(only, head[0][0], naming, notes)
    elif filled[0].lstrip()[0] == "{":
        text.seek(0)
        yield from _documents(text, naming, notes)
    else:
        yield from _lines(chain(head, lines), notes)


def _lines(lines: Iterator[Line], notes: list[str]) -> Iterator[Record | Rejected]:
    for number, line in lines:
        if not line.isspace():
            value = _decoded(line, notes)
            yield rejected(number, INVALID, line) if value is None else _record(number, value, line)


def _decoded(line: str, notes: list[str]) -> Any:
    """What a line says in JSON or as a Python literal; None if it is neither."""
    try:
        return _JSON.decode(line)
    except (ValueError, RecursionError):
        pass
    line = _COMMA.sub(lambda found: "" if found[0] == "," else found[0], line.strip().rstrip(","))
    try:
        return _JSON.decode(line)
    except (ValueError, RecursionError):
        pass
    try:
        if line[:1] != "{" or len(line) > _LITERAL:
            return None
        value = _plain(ast.literal_eval(line))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    note = "the rows are Python dicts, not JSON: read as such."
    if note not in notes:
        notes.append(note)
    return value


def _plain(value: Any) -> Any:
    """A Python literal with nothing in it that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, set):
        return sorted(map(_plain, value), key=str)  # the same in each process
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return clean(value) if isinstance(value, str | bytes) else value


def _record(line: int, value: Any, raw: str) -> Record | Rejected:
    if not isinstance(value, dict):
        return rejected(line, "row is not a JSON object", raw)
    if "$" in raw and _MARKED.search(raw):
        value = {key: _unmarked(one) for key, one in value.items()}
    if "\\u" in raw or "\\x" in raw:  # escapes can spell what cannot be stored
        value = clean(value)
    return line, tuple(value), list(value.values()), raw


def _unmarked(value: Any, depth: int = 4) -> Any:
    """What an object like {"$oid": "5f1"} holds, also `depth` levels down: so MongoDB writes the kinds of values."""
    while isinstance(value, dict) and len(value) == 1 and next(iter(value)).startswith("$"):
        (value,) = value.values()
    if isinstance(value, dict) and depth:
        return {key: _unmarked(one, depth - 1) for key, one in value.items()}
    return [_unmarked(one, depth - 1) for one in value] if isinstance(value, list) and depth else value


def _documents(text: TextIO, naming: Naming, notes: list[str]) -> Iterator[Record | Rejected]:
    """Objects one after the other, each over several lines; one alone may hold the rows."""
    found = _elements(text, array=False)
    head = list(islice(found, 2))
    if len(head) == 1 and not isinstance(head[0], Rejected):
        line, columns, cells, _ = head[0]
        yield from _unwrapped(dict(zip(columns, cells, strict=True)), line, naming, notes)
    else:
        yield from chain(head, found)


def _elements(text: TextIO, *, array: bool) -> Iterator[Record | Rejected]:
    """The elements of an array, or documents in a row, some of them in memory at a time.

    After a broken one, or an end that is none, it goes on where the next object begins that has the keys of the others.
    """
    buffer, position, end, line, ended, opened = "", 0, 0, 1, False, not array
    kin: frozenset[str] = frozenset()
    while True:
        while end < len(buffer) and (buffer[end] in _GAP or (buffer[end] == "[" and not opened)):
            opened = opened or buffer[end] == "["
            end += 1
        line += buffer.count("\n", position, end)
        position = end
        if len(buffer) - position < _CHUNK and not ended:
            more = text.read(_CHUNK)
            buffer, position, end, ended = buffer[position:] + storable(more), 0, 0, not more
            continue
        if position == len(buffer):
            if array:
                yield rejected(line, "the array is never closed", "")
            return
        if array and buffer[position] == "]":
            end = _next_object(buffer, position, kin) if kin else -1
            if end < 0:
                break
            if buffer[position + 1 : end].strip(_GAP + "["):  # else another array follows
                yield rejected(line, "the array ends here, but more rows follow", buffer[position:end])
            continue
        try:
            value, end = _JSON.raw_decode(buffer, position)
            record = _record(line, value, buffer[position:end])
            if isinstance(value, dict):
                kin = frozenset(value)
        except (ValueError, RecursionError) as error:
            end = -1 if _is_cut(error, buffer) and not ended else _next_object(buffer, position, kin)
            if end < 0 and not ended and len(buffer) - position < _ELEMENT:
                more = text.read(len(buffer) - position)  # twice as much, so that long elements cost little
                buffer, position, end, ended = buffer[position:] + storable(more), 0, 0, not more
                continue
            end = end if end > 0 else len(buffer)
            record = rejected(line, INVALID, buffer[position:end])
        yield record
    if rest := buffer[position + 1 :].strip():
        yield rejected(line, "text after the end of the array", rest)


def _is_cut(error: Exception, buffer: str) -> bool:
    """Whether an element is broken only because there is more of it to read."""
    return isinstance(error, json.JSONDecodeError) and (
        error.msg.startswith("Unterminated string") or error.pos >= len(buffer) - 10
    )


def _next_object(buffer: str, position: int, kin: frozenset[str]) -> int:
    """Where the object after the broken one at `position` begins; -1 if it does not."""
    if not kin:
        after = _AFTER.search(buffer, position + 1)
        return after.end() if after else -1
    for found in _OBJECT.finditer(buffer, position + 1):
        try:
            value, _ = _JSON.raw_decode(buffer, found.start())
        except (ValueError, RecursionError):
            continue
        if len(kin & value.keys()) * 2 >= len(kin):  # else it is one inside the broken one
            return found.start()
    return -1


def _unwrapped(value: Any, line: int, naming: Naming, notes: list[str]) -> Iterator[Record | Rejected]:
    """The rows that one JSON value holds."""
    rows = _rows(value, naming, notes) if isinstance(value, dict) else None
    if rows is None:
        yield _record(line, value, json.dumps(value, ensure_ascii=False))
        return
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            row = clean({key: _unmarked(one) for key, one in row.items()})
            yield number, tuple(row), list(row.values()), None
        else:
            yield rejected(number, "row is not a JSON object", json.dumps(row, ensure_ascii=False))


def _rows(value: Mapping[str, Any], naming: Naming, notes: list[str]) -> Sequence[Any] | None:
    """The rows inside an object that is none itself; None if it is one."""
    inner = list(value.values())
    if not inner:
        return None
    if (key := steps_in(value, naming)) and not _is_row(value[key][0], naming):
        return None
    if _is_row(value, naming):
        if _alike(inner, list) or _alike(inner, dict):
            notes.append("the file has a list for each column: read as such.")
            return _across(value)
        return None
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        return [dict(zip(map(str, value["columns"]), row, strict=False)) for row in value["data"]]
    lists = {key: one for key, one in value.items() if isinstance(one, list) and one and isinstance(one[0], dict)}
    by_user = "user_id" in naming.fields and all(isinstance(one, list) for one in inner)
    if lists and not (by_user and not any(_is_row(one[0], naming) for one in lists.values())):
        key = max(lists, key=lambda key: (_is_row(lists[key][0], naming), len(lists[key])))
        notes.append(f"the rows are those under {printable(key)[:40]!r}.")
        return [_row_in(one, naming) for one in lists[key]]
    if all(isinstance(one, dict) for one in inner):
        if len(inner) == 1 and not _is_row(inner[0], naming) and (deeper := _rows(inner[0], naming, notes)):
            return deeper
        notes.append("the file has the rows by their ids: read as such.")
        return [one if _is_row(one, naming) else {_key_of_rows(naming): key, **one} for key, one in value.items()]
    if by_user:
        notes.append("the file has the rows by user: read as such.")
        return [
            {"user_id": key, **step} if isinstance(step, dict) else {"user_id": key, "item_id": step}
            for key, steps in value.items()
            for step in steps
        ]
    return next((rows for one in inner if isinstance(one, dict) and (rows := _rows(one, naming, notes))), None)


def _row_in(value: Any, naming: Naming) -> Any:
    """The row that an element holds beside other things ({"node": {…}}, {"_source": {…}}), else the element.

    Also one that is a row with what is beside it ({"id": 1, "attributes": {…}}).
    """
    if not isinstance(value, dict) or _is_row(value, naming):
        return value
    inner = {key: one for key, one in value.items() if isinstance(one, dict)}
    together = ({**{name: one for name, one in value.items() if name != key}, **row} for key, row in inner.items())
    return next((one for one in (*inner.values(), *together) if _is_row(one, naming)), value)


def _key_of_rows(naming: Naming) -> str:
    return "user_id" if "user_id" in naming.fields else "item_id"


def _is_row(value: Mapping[str, Any], naming: Naming) -> bool:
    return naming.is_row(tuple(map(str, value)))


def _alike(values: list[Any], kind: type) -> bool:
    """Whether all are lists, or all objects, of one length."""
    return all(isinstance(one, kind) for one in values) and len({len(one) for one in values}) == 1


def _across(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    columns = [one.values() if isinstance(one, dict) else one for one in value.values()]
    return [dict(zip(value, cells, strict=False)) for cells in zip(*columns, strict=False)]
