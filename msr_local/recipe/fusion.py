"""The fused score: several scores of a candidate, weighed by logistic regression.

Each score enters as it is and as its signed square root, since a first co-occurrence says more than a tenth one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .logistic import logistic

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weights for the scores called `names`: `straight` for each as it is, `root` for its square root."""

    names: tuple[str, ...]
    straight: tuple[float, ...]
    root: tuple[float, ...]
    intercept: float

    def __call__(self, scores: Scores) -> Scores:
        """The fused log-odds of scores [..., F], shape [...]."""
        return np.asarray(scores @ self.straight + _root(scores) @ self.root + self.intercept)

    def to_json(self) -> dict[str, Any]:
        return {
            "intercept": self.intercept,
            "weights": {
                name: {"straight": a, "root": b}
                for name, a, b in zip(self.names, self.straight, self.root, strict=True)
            },
        }


def fitted(names: Sequence[str], scores: Scores, answers: npt.NDArray[np.float64], ridge: float = 1e-3) -> Fusion:
    """The fusion that foretells `answers` (1 for yes, 0 for no; shape [N]) best from `scores` [N, F]."""
    weights = logistic(np.concatenate([scores, _root(scores)], axis=1), answers, ridge)
    count = len(names)
    return Fusion(tuple(names), tuple(weights[:count]), tuple(weights[count:-1]), float(weights[-1]))


def _root(scores: Scores) -> Scores:
    return np.asarray(np.sign(scores) * np.sqrt(np.abs(scores)))
