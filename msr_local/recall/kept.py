"""The tables of recall, kept as plain arrays: the next command maps them instead of reading the whole log again.

They are kept under the state of the workspace and the hash of all that they were made of, so that recipes with other
texts of the items have tables beside each other. All are copies: where one is missing, broken or cannot be written,
recall is built from the database.
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

FORMAT = 4  # another number where the tables, or how they are made, change
WORTH = 200_000  # interactions and words of texts from which on; fewer are read in a moment
_MOST = 4  # sets of tables of one state
_NAME = re.compile(r"[0-9a-f]{32}(-[0-9a-f]{32})?")  # of a set of tables; earlier releases left out the state
_ITEMS = "items.json"
_ARRAYS = ("data", "indices", "indptr")
_KINDS = dict.fromkeys(("by_item", "words"), sparse.csc_matrix)  # the others have rows


def save(folder: Path, state: str, key: str, recall: Recall) -> None:
    """Keep `recall` under `key`, if it is large. Tables of another `state` of the workspace go; so do the oldest."""
    if recall.tables.by_user.nnz + recall.tables.text.nnz < WORTH:
        return
    place = _place(folder, state, key)
    with suppress(FileError, OSError):  # a full disk is no reason not to answer
        if load(folder, state, key) is None:  # nothing is there, or it is broken
            remove(place)
        with written_whole(place) as part:
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
        ours = {one for one in folder.iterdir() if _NAME.fullmatch(one.name)}
        present = sorted((one for one in ours if one.name.startswith(f"{state}-")), key=lambda one: one.stat().st_mtime)
        for other in ours - {place, *present[-_MOST:]}:
            remove(other)


def load(folder: Path, state: str, key: str) -> Recall | None:
    """What is kept under `key`; None where that is nothing, or no longer whole."""
    place = _place(folder, state, key)
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


def _place(folder: Path, state: str, key: str) -> Path:
    return folder / f"{state}-{key}"
