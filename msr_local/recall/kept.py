"""The tables of recall, kept as plain arrays: the next command maps them instead of reading the whole log again.

One set is kept for a workspace, under the hash of all that it was made of. It is a copy: where it is missing, broken or
cannot be written, recall is built from the database.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.lib.format import open_memmap

from .candidates import Recall, Tables

FORMAT = 2  # another number where the tables, or how they are made, change
WORTH = 200_000  # interactions from which on; fewer are read in a moment
_ABANDONED = 3600.0  # seconds after which an unfinished set is nobody's
_ITEMS = "items.json"
_ARRAYS = ("data", "indices", "indptr")
_KINDS = {"by_item": sparse.csc_matrix}  # the others have rows


def save(folder: Path, key: str, recall: Recall) -> None:
    """Keep `recall` under `key` instead of what was kept before, if it is large."""
    if recall.tables.by_user.nnz < WORTH:
        return
    part = folder / f"{token_hex(4)}.unfinished"
    with suppress(OSError):  # a full disk is no reason not to answer
        try:
            part.mkdir(parents=True)
            for field in fields(Tables):
                matrix = getattr(recall.tables, field.name)
                for array in _ARRAYS:
                    with (part / f"{field.name}.{array}.npy").open("wb") as file:
                        np.save(file, getattr(matrix, array))
                        os.fsync(file.fileno())
            shapes = {field.name: getattr(recall.tables, field.name).shape for field in fields(Tables)}
            with (part / _ITEMS).open("w", encoding="utf-8") as text:
                json.dump({"shapes": shapes, "item_ids": recall.item_ids}, text)
                text.flush()
                os.fsync(text.fileno())
            shutil.rmtree(folder / key, ignore_errors=True)  # it is there only if it is broken
            part.replace(folder / key)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        for other in folder.iterdir():
            anothers = other.suffix == ".unfinished" and time.time() - other.stat().st_mtime < _ABANDONED
            if other.name != key and not anothers:
                shutil.rmtree(other, ignore_errors=True)


def load(folder: Path, key: str) -> Recall | None:
    """What is kept under `key`; None where that is nothing, or no longer whole."""
    place = folder / key
    try:
        kept = json.loads((place / _ITEMS).read_text(encoding="utf-8"))
        tables: dict[str, Any] = {}
        for field in fields(Tables):
            arrays: Any = tuple(open_memmap(place / f"{field.name}.{array}.npy", mode="r") for array in _ARRAYS)
            kind = _KINDS.get(field.name, sparse.csr_matrix)
            tables[field.name] = kind(arrays, shape=tuple(kept["shapes"][field.name]))
        return Recall.of(kept["item_ids"], Tables(**tables))
    except (OSError, ValueError, KeyError, TypeError):
        return None
