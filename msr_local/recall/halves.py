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
    missed: Mask = field(default_factory=lambda: np.zeros(0, bool))  # [N]: the target is not among the candidates
    offsets: Matrix | None = None  # log-probabilities to be drawn, shape [N, C]; None: all alike
    scores: dict[str, Matrix] = field(default_factory=dict)

    def first(self, count: int) -> Half:
        """The first `count` cases, without candidates."""
        return Half(self.cases[:count], self.recall, self.known)

    def among(
        self, candidates: list[Items], offsets: Sequence[Vector] | None = None, *,
        missed: Mask | None = None,
    ) -> Half:  # fmt: skip
        """The same cases with these candidates, targets first, and no scores."""
        drawn = None if offsets is None else padded(offsets)
        nobody = np.zeros(len(self.cases), bool)
        return replace(
            self, candidates=candidates, offsets=drawn, missed=nobody if missed is None else missed, scores={}
        )

    def keep(self, name: str, rows: Sequence[Vector]) -> None:
        """Keep one system's scores; a missed target has none."""
        self.scores[name] = padded(rows)
        self.scores[name][self.missed, :1] = np.nan

    def stacked(self, names: Sequence[str]) -> Vector:
        """The scores of several systems, shape [N, C, F]."""
        return np.stack([self.scores[name] for name in names], axis=-1)
