"""States of prefixes, kept from one command to the next, so that a person's history is read by the model once.

A state is what a sequence of the KV cache holds: some 20 kB a token for a small model, 11 MB for a long question.
It is restored only if it is whole, bit by bit: a wrong one would answer without a sign of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

WORTH = 128  # tokens from which on reading a state beats decoding
_ROOM = 512 << 20  # bytes of all states together; the longest unused go first


class Prefixes:
    """A folder of states of one model, beside those of others. Files that cannot be read or written are no error."""

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
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return state

    def save(self, key: str, state: bytes) -> None:
        """Keep a state; others make room for it."""
        if len(state) > _ROOM // 4:
            return
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(len(state))
            handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(state).digest())
                    file.write(state)
                Path(name).replace(path)
            finally:
                Path(name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.state"

    def _make_room(self, size: int) -> None:
        kept = [(path.stat(), path) for path in self._folder.parent.glob("*/*") if path.is_file()]
        total = size + sum(stat.st_size for stat, _ in kept)
        for stat, path in sorted(kept, key=lambda one: one[0].st_mtime):
            if total <= _ROOM:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size
