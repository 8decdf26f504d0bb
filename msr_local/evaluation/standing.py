"""How one system ranks the positives, and what it recommends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..arrays import Items, Matrix, Vector, best
from . import ranking

_TOP = 10  # items that count as recommended, for coverage


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
            items[np.lexsort((items, -np.nan_to_num(row[: len(items)], nan=-np.inf)))[:_TOP]].tolist()
            for items, row in zip(candidates, scores, strict=True)
        ]
        return cls(ranking.ranks(scores).tolist(), shown, scores if drawn else None)

    def add(self, taken: float, values: Vector, items: Items) -> None:
        """One more case: the scores of `items`, and that of the item taken; NaN where it is not among them: a miss."""
        rank = 1.0 + float((values > taken).sum()) + 0.5 * float((values == taken).sum() - 1)
        self.ranks.append(np.inf if np.isnan(taken) else rank)
        self.best.append(items[best(values, np.arange(len(items)), _TOP)].tolist())

    def per_case(self) -> dict[str, Vector]:
        """Every metric that is a mean over cases, [N] each."""
        return ranking.of_ranks(np.array(self.ranks)) if self.scores is None else ranking.per_case(self.scores)
