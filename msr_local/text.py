"""What happens to foreign text at the two borders: when it is stored and when it is shown."""

from __future__ import annotations

import os
import re
from pathlib import Path

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# DEL and C1 controls, bidirectional marks and overrides, line separators: a terminal may act on these.
_UNSAFE_BUT_C0 = "\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_UNSAFE = re.compile(f"[\x00-\x1f{_UNSAFE_BUT_C0}]")
_UNSAFE_IN_JSON = re.compile(f"[{_UNSAFE_BUT_C0}]")


def storable(text: str) -> str:
    """`text` as SQLite can keep it: lone surrogates and NULs, which it cannot, become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def storable_path(path: str | Path) -> str | bytes:
    """`path` as SQLite can keep it and `os.fsdecode` gives it back: bytes, where its name is not UTF-8."""
    name = os.fsencode(path)
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name


def name_of(path: str | Path) -> str:
    """`path` as text to keep and show, in which bytes that are not UTF-8 stand as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey; runs of blanks become one."""
    return " ".join(_UNSAFE.sub(" ", text).split())


def printable_json(document: str) -> str:
    """A JSON document in which every character that a terminal would obey is written as an escape.

    `json.dumps` itself escapes C0 only.
    """
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", document)
