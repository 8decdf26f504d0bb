"""What is asked of a half of the users, and how systems stand in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..evaluation import ranking
from .candidates import Recall, best
from .protocols import Case, Items

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
_TOP = 10  # items that count as recommended, for coverage


@dataclass(slots=True)
class Half:
    """The validation or the test: its cases, the candidates of each, and scores [N, C] by system."""

    cases: list[Case]
    recall: Recall
    known: npt.NDArray[np.bool_]
    candidates: list[Items] = field(default_factory=list)
    missed: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))  # [N]: the target is no candidate
    offsets: Matrix | None = None  # log-probabilities to be drawn, shape [N, C]; None: all alike
    scores: dict[str, Matrix] = field(default_factory=dict)

    def first(self, count: int) -> Half:
        """The first cases of it, without candidates."""
        return Half(self.cases[:count], self.recall, self.known)

    def among(
        self, candidates: list[Items], offsets: Sequence[Vector] | None = None, *,
        missed: npt.NDArray[np.bool_] | None = None,
    ) -> Half:  # fmt: skip
        """The same cases with these candidates, targets first, and no scores."""
        drawn = None if offsets is None else ranking.table(offsets)
        nobody = np.zeros(len(self.cases), bool)
        return replace(
            self, candidates=candidates, offsets=drawn, missed=nobody if missed is None else missed, scores={}
        )

    def keep(self, name: str, rows: Sequence[Vector]) -> None:
        """Keep one system's scores; what was missed has none."""
        self.scores[name] = ranking.table(rows)
        self.scores[name][self.missed, :1] = np.nan

    def stacked(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """The scores of several systems, shape [N, C, F]."""
        return np.stack([self.scores[name] for name in names], axis=-1)


@dataclass(slots=True)
class Standing:
    """Where one system ranks the item taken, case by case, and the items that it recommends to each user."""

    ranks: list[float] = field(default_factory=list)  # from 1, the middle one of equal scores; infinite for a miss
    best: list[list[int]] = field(default_factory=list)
    scores: Matrix | None = None  # where candidates were drawn

    @classmethod
    def of(cls, scores: Matrix, candidates: Sequence[Items], *, drawn: bool) -> Standing:
        """By the scores [N, C] of candidates; whether these were drawn, so that a share of pairs means something."""
        shown = [
            items[np.argsort(-np.nan_to_num(row[: len(items)], nan=-np.inf), kind="stable")[:_TOP]].tolist()
            for items, row in zip(candidates, scores, strict=True)
        ]
        return cls(ranking.ranks(scores).tolist(), shown, scores if drawn else None)

    def add(self, taken: float, values: Vector, items: Items) -> None:
        """One more case: the scores of `items`, the item taken among them, and its own."""
        self.ranks.append(1.0 + float((values > taken).sum()) + 0.5 * float((values == taken).sum() - 1))
        self.best.append(items[best(values, np.arange(len(items)), _TOP)].tolist())

    def per_case(self) -> dict[str, Vector]:
        """Every metric that is a mean over cases, [N] each."""
        return ranking.of_ranks(np.array(self.ranks)) if self.scores is None else ranking.per_case(self.scores)
