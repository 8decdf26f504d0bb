"""What happens to foreign text at the two borders: when it is stored and when it is shown."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# C0 and C1 controls, DEL, bidirectional overrides and line separators: a terminal may act on these.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def storable(text: str) -> str:
    """`text` as SQLite can keep it: lone surrogates and NULs, which it cannot, become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def printable(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey; runs of blanks become one."""
    return " ".join(_UNSAFE.sub(" ", text).split())
