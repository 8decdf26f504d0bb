"""The questions about the validation or the test users, and each system's scores of their candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..arrays import Items, Mask, Matrix, Vector, padded
from .candidates import Recall
from .protocols import Case


@dataclass(slots=True)
class Half:
    """The validation or the test users: their cases, the candidates of each, and scores [N, C] by system."""

    cases: list[Case]
    recall: Recall
    known: Mask
    candidates: list[Items] = field(default_factory=list)
    offsets: Matrix | None = None  # log-probabilities to be drawn, shape [N, C]; None: all alike
    scores: dict[str, Matrix] = field(default_factory=dict)

    def first(self, count: int) -> Half:
        """The first `count` cases, without candidates."""
        return Half(self.cases[:count], self.recall, self.known)

    def among(self, candidates: list[Items], offsets: Sequence[Vector] | None = None) -> Half:
        """The same cases with these candidates, targets first, and no scores."""
        drawn = None if offsets is None else padded(offsets)
        return replace(self, candidates=candidates, offsets=drawn, scores={})

    def keep(self, name: str, rows: Sequence[Vector]) -> None:
        """Keep one system's scores."""
        self.scores[name] = padded(rows)

    def stacked(self, names: Sequence[str]) -> Vector:
        """The scores of several systems, shape [N, C, F]."""
        return np.stack([self.scores[name] for name in names], axis=-1)
