"""The fused score: several scores of a candidate, weighed by logistic regression, or by a softmax over lists.

Each score enters in three shapes: as it is, as its square root and as a logarithm, since a first co-occurrence says
more than a tenth one. (Boosted trees on the same scores were better by about half a point of AUC on MicroLens, and
need a hundred times the numbers.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Vector
from .logistic import logistic, softmax

SHAPES: dict[str, Callable[[Vector], Vector]] = {
    "straight": lambda size: size,
    "root": np.sqrt,
    "log": lambda size: np.log1p(50.0 * size),
}


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weights for the scores called `names`: {shape: a weight for each}, and an intercept."""

    names: tuple[str, ...]
    weights: dict[str, tuple[float, ...]]
    intercept: float

    def __call__(self, scores: Vector) -> Vector:
        """The fused log-odds of scores [..., F], shape [...]."""
        return np.asarray(self.parts(scores).sum(axis=-1) + self.intercept)

    def parts(self, scores: Vector) -> Vector:
        """What each score gives of the fused log-odds, less the intercept, shape [..., F]."""
        weights = np.array([self.weights[shape] for shape in SHAPES])
        return np.asarray((_shaped(scores).reshape(*scores.shape[:-1], *weights.shape) * weights).sum(axis=-2))

    def to_json(self) -> dict[str, Any]:
        return {"scores": list(self.names), "weights": self.weights, "intercept": self.intercept}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Fusion:
        """What `to_json` wrote."""
        weights = {shape: tuple(document["weights"][shape]) for shape in SHAPES}
        return cls(tuple(document["scores"]), weights, document["intercept"])


def fitted(names: Sequence[str], scores: Vector, answers: Vector, ridge: float = 1e-3) -> Fusion:
    """The fusion that best predicts `answers` (1 for yes, 0 for no; shape [N]) from `scores` [N, F]."""
    *weights, intercept = logistic(_shaped(scores), answers, ridge).tolist()
    return _fusion(names, weights, intercept)


def listwise(names: Sequence[str], scores: Vector, offsets: Vector, ridge: float = 1e-3) -> Fusion:
    """The fusion that best tells the first candidate of each list from the others (conditional logit, McFadden 1974).

    `scores` [N, C, F] are NaN where a list has no candidate. `offsets` [N, C] are the candidates' log-probabilities
    to be in their list, so that the weights are those of a softmax over the whole catalogue.
    """
    return _fusion(names, softmax(_shaped(scores), offsets, ridge).tolist(), 0.0)


def _fusion(names: Sequence[str], weights: Sequence[float], intercept: float) -> Fusion:
    count = len(names)
    parts = {shape: tuple(weights[count * n : count * (n + 1)]) for n, shape in enumerate(SHAPES)}
    return Fusion(tuple(names), parts, intercept)


def _shaped(scores: Vector) -> Vector:
    """All shapes of scores [..., F], signs kept: [..., 3 F]."""
    return np.concatenate([np.sign(scores) * shape(np.abs(scores)) for shape in SHAPES.values()], axis=-1)
