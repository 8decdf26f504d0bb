"""What SQLite's errors mean to the user of a workspace, and what to do next."""

from __future__ import annotations

import sqlite3
from pathlib import Path

Fault = sqlite3.Error

# What SQLite says -> what it means, and what to do next.
_WORDS = {
    "not a database": ("cannot be used as a workspace", "move the file away, or --home DIR"),
    "malformed": (
        "the database is damaged",
        "a copy from before; or move the file away and ingest again (sqlite3 FILE .recover saves what can be read)",
    ),
    "locked": ("another program is writing to it", "try again when it is done"),
    "full": ("the disk is full", "free space, then the same command: what was kept before is there"),
    "readonly": ("it is read-only, so nothing can be kept in it", "check rights of file and folder, or --home DIR"),
    "unable to open": ("it cannot be opened", "check rights of file and folder, or --home DIR"),
    "disk I/O": ("the disk refuses to read or write it", "check space and rights of its folder, and the disk"),
}


def said(error: sqlite3.Error, path: Path | None = None) -> str | None:
    """One line for people on an error of the database at `path`; None for one that only a bug explains."""
    text = str(error)
    for word, (meaning, then) in _WORDS.items():
        if word in text:
            return f"{path or 'the workspace'}: {meaning} ({text}). Next: {then}."
    return None
