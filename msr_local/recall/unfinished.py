"""Training of towers that was interrupted goes on where it was: its state in a file, written now and then."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError
from ..files import remove, written_whole

State = Mapping[str, np.ndarray[Any, Any]]
_EVERY = 30.0  # seconds
_STEP = "step"


class Unfinished:
    """States of trainings in a folder, each under what it is made of. Without a folder nothing is kept.

    They are copies: one that is broken, or cannot be written, costs time and nothing else.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._kept_at = folder, time.monotonic()

    def begun(self, *made_of: np.ndarray[Any, Any] | None) -> tuple[str, int, State]:
        """The name of a training on these arrays, how many steps it has made, and its state after them."""
        name = hashlib.sha256(b"".join(_hash(one) for one in made_of)).hexdigest()[:32]
        if self._folder is None:
            return name, 0, {}
        try:
            with (self._folder / f"{name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                state = dict(arrays)
            return name, int(state.pop(_STEP)), state
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return name, 0, {}

    def due(self) -> bool:
        """Whether it is time to keep a state again."""
        return self._folder is not None and time.monotonic() - self._kept_at > _EVERY

    def keep(self, name: str, step: int, state: State) -> None:
        """Keep the state of a training after so many steps."""
        if self._folder is None:
            return
        arrays: dict[str, Any] = {_STEP: np.array(step), **state}
        path = self._folder / f"{name}.npz"
        with suppress(FileError, OSError), written_whole(path) as part, part.open("wb") as file:
            np.savez(file, **arrays)
        self._kept_at = time.monotonic()

    def over(self) -> None:
        """All is learned: no state is needed any more."""
        if self._folder is not None:
            remove(self._folder)


def _hash(one: np.ndarray[Any, Any] | None) -> bytes:
    if one is None:
        return b"none"
    return hashlib.sha256(f"{one.dtype} {one.shape}".encode() + np.ascontiguousarray(one).tobytes()).digest()
