"""The tables of recall, kept as plain arrays: the next command maps them instead of reading the whole log again.

One set is kept for a workspace, under the hash of all that it was made of. It is a copy: where it is missing, broken or
cannot be written, recall is built from the database.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.lib.format import open_memmap

from ..errors import FileError
from ..files import remove, written_whole
from .candidates import Recall, Tables

FORMAT = 3  # another number where the tables, or how they are made, change
WORTH = 200_000  # interactions from which on; fewer are read in a moment
_KEY = re.compile(r"[0-9a-f]{32}")  # as `fingerprint` makes them
_ITEMS = "items.json"
_ARRAYS = ("data", "indices", "indptr")
_KINDS = dict.fromkeys(("by_item", "words"), sparse.csc_matrix)  # the others have rows


def save(folder: Path, key: str, recall: Recall) -> None:
    """Keep `recall` under `key` instead of what was kept before, if it is large."""
    if recall.tables.by_user.nnz < WORTH:
        return
    with suppress(FileError, OSError):  # a full disk is no reason not to answer
        if load(folder, key) is None:  # nothing is there, or it is broken
            remove(folder / key)
        with written_whole(folder / key) as part:
            part.mkdir()
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
        for other in folder.iterdir():
            if other.name != key and _KEY.fullmatch(other.name):
                remove(other)


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
