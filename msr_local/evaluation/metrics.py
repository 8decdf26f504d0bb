"""Ranking and calibration metrics of yes/no scores, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from ..arrays import Vector
from ..recall.logistic import logistic, sigmoid

_RESAMPLES = 1000
_BINS = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric and the bounds of its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, resampled: Vector) -> Estimate:
        """By the metric's values on resampled data; NaN bounds where none of them is a number."""
        finite = resampled[np.isfinite(resampled)]
        low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (np.nan, np.nan)
        return cls(value, float(low), float(high))

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "ci95": [self.low, self.high]}

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auc(scores: Vector, answers: Vector) -> float:
    """Area under the ROC curve over all pairs of a positive and a negative; ties count half. NaN without both answers.

    `scores` and `answers` (1 for yes, 0 for no) have shape [N].
    """
    positive = int(answers.sum())
    negative = len(answers) - positive
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[answers == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def auc_estimate(scores: Vector, answers: Vector, groups: Sequence[object], seed: int = 0) -> Estimate:
    """Pooled AUC with a percentile bootstrap over whole groups (a user's rows depend on each other)."""
    return _estimate(lambda rows: auc(scores[rows], answers[rows]), groups, seed)


def mean_estimate(values: Vector, groups: Sequence[object] | None = None, seed: int = 0) -> Estimate:
    """The mean of `values`, shape [N], with a percentile bootstrap over whole groups, or over the values."""
    return _estimate(lambda rows: float(values[rows].mean()), range(len(values)) if groups is None else groups, seed)


def _estimate(metric: Callable[[npt.NDArray[np.intp]], float], groups: Sequence[object], seed: int) -> Estimate:
    """A metric of rows by their indices, and its interval over resampled groups; NaN where there is none."""
    _, index = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    members = [np.flatnonzero(index == group) for group in range(int(index.max()) + 1 if len(index) else 0)]
    random = np.random.default_rng(seed)
    values = [
        metric(np.concatenate([members[i] for i in random.integers(len(members), size=len(members))]))
        for _ in range(_RESAMPLES if members else 0)
    ]
    return Estimate.of(metric(np.arange(len(index))) if members else float("nan"), np.array(values))


def calibration_error(p: Vector, answers: Vector, bins: int = _BINS) -> float:
    """Expected calibration error (Naeini et al. 2015): mean |p - share of yes| over equal-width bins, by size."""
    which = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs(p[which == b].mean() - answers[which == b].mean()) * (which == b).mean() for b in np.unique(which)]
    return float(sum(gaps))


@dataclass(frozen=True, slots=True)
class Platt:
    """p(yes) = sigmoid(a z + b), a > 0: Platt scaling (Platt 1999), which never changes an order."""

    a: float
    b: float

    def __call__(self, z: Vector) -> Vector:
        return sigmoid(self.a * z + self.b)

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def platt(z: Vector, answers: Vector) -> Platt | None:
    """The scaling that fits best; None where higher log-odds do not mean more positives, or one answer is missing.

    Targets are smoothed as in Platt (1999), so that perfectly separated rows do not give an infinite slope.
    """
    positive, negative = answers.sum(), len(answers) - answers.sum()
    if not positive or not negative:
        return None
    targets = np.where(answers == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    a, b = logistic(z[:, None], targets)
    return Platt(float(a), float(b)) if a > 1e-6 else None
