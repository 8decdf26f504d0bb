"""The items of a workspace as the language model's vectors: each text is read once, and its vector is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..arrays import Floats
from ..engine.types import LONGEST
from ..models.spec import Role
from ..progress import Progress
from ..store import results
from ..store.workspace import Workspace, fingerprint, versioned
from ..text import printable
from .asking import Asker

OPENING = "Item: "  # so that the text's own first word is not the first of all
_KIND = versioned("vector", 1)  # another number where what is read of the same text changes
_KEPT = 64  # vectors in a commit


class Vectors:
    """What the plain model, without adapters, makes of texts; see `Engine.vectors`."""

    def __init__(self, workspace: Workspace, reader: Role, asker: Asker, progress: Progress) -> None:
        self._workspace, self._asker, self._progress = workspace, asker, progress
        self.settings = fingerprint(_KIND, reader.identity, OPENING, LONGEST)

    def keys(self, texts: Sequence[str]) -> list[str]:
        """What each text's vector is kept under."""
        return [fingerprint(self.settings, text) for text in texts]

    def of(self, texts: Sequence[str]) -> Floats:
        """The vectors of the texts, shape [N, D]."""
        keys = self.keys(texts)
        known = results.vectors(self._workspace, keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        self._progress("item vectors", 0, len(missing))
        if missing:
            order = list(missing)
            new: dict[str, Floats] = {}
            read = self._asker.vectors([OPENING + printable(text) for text in missing.values()])
            for done, (place, vector) in enumerate(read, start=1):
                new[order[place]] = vector
                if len(new) == _KEPT or done == len(missing):
                    results.save_vectors(self._workspace, new)
                    known |= {key: one.astype(np.float16) for key, one in new.items()}
                    new = {}
                    self._progress("item vectors", done, len(missing))
        return np.array([known[key] for key in keys], np.float32)
