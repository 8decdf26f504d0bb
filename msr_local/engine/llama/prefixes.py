"""States of prefixes, kept from one command to the next, so that the model reads a user's history once.

A state is what a sequence of the KV cache holds: some 20 kB a token for a small model, 11 MB for a long question.
It is restored only if it is whole, bit by bit: a wrong one would answer without a sign of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from ...errors import FileError
from ...files import remove, written_whole

WORTH = 128  # tokens from which on reading a state beats decoding
_ROOM = 512 << 20  # bytes of a model's states together; the longest unused go first
_FORGOTTEN = 30 * 86_400.0  # seconds after which the states of a model that no longer answers go
_NAME = re.compile(r"[0-9a-f]{32}\.state")


class Prefixes:
    """A folder of states of one model and its adapters. Files that cannot be read or written are no error.

    Only files that were written here are ever removed, whatever else lies in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str) -> bytes | None:
        """The state kept under `key`, if it is there and whole."""
        path = self._path(key)
        try:
            digest, state = (content := path.read_bytes())[:32], content[32:]
        except OSError:
            return None
        if hashlib.sha256(state).digest() != digest:
            remove(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return state

    def save(self, key: str, state: bytes) -> None:
        """Keep a state; others make room for it."""
        if len(state) > _ROOM // 4:
            return
        with contextlib.suppress(FileError, OSError):
            self._make_room(len(state))
            with written_whole(self._path(key)) as part, part.open("wb") as file:
                file.write(hashlib.sha256(state).digest())
                file.write(state)

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.state"

    def _make_room(self, size: int) -> None:
        kept = [(path.stat(), path) for path in states(self._folder)]
        total = size + sum(stat.st_size for stat, _ in kept)
        for stat, path in sorted(kept, key=lambda one: one[0].st_mtime):
            if total <= _ROOM:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size


def forget(folders: Path) -> None:
    """Remove the states in the folders of `folders` that nobody used for a month: their models answer no more."""
    with contextlib.suppress(OSError):
        for path in (path for folder in folders.iterdir() for path in states(folder)):
            if time.time() - path.stat().st_mtime > _FORGOTTEN:
                path.unlink(missing_ok=True)


def states(folder: Path) -> Iterator[Path]:
    """The states that were written into a folder."""
    return (path for path in folder.glob("*.state") if _NAME.fullmatch(path.name) and path.is_file())
