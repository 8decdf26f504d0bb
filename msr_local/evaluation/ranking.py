"""How high the positive is ranked among the candidates, over many cases, and whether two systems differ.

Scores have shape [N, C]: a row for each case, the positive in column 0, NaN where there is no candidate.
A NaN in column 0 is an item that recall missed: it has no rank, and counts as a miss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..arrays import Mask, Matrix, Vector
from .metrics import Estimate

CUTS = (1, 5, 10, 20)
_RESAMPLES = 1000
_FLIPS = 10_000


def ranks(scores: Matrix) -> Vector:
    """The rank (from 1) of the item taken, shape [N]; among equal scores the middle one; infinite for a miss."""
    taken, others = scores[:, :1], scores[:, 1:]
    rank = 1.0 + (others > taken).sum(axis=1) + 0.5 * (others == taken).sum(axis=1)
    return np.where(np.isnan(taken[:, 0]), np.inf, rank)


def hit(rank: Vector, k: int) -> Vector:
    """HR@k of each case: 1 where the rank is at most k."""
    return (rank <= k).astype(float)


def reciprocal(rank: Vector, k: int) -> Vector:
    """MRR@k of each case: 1 / rank, or 0 beyond k."""
    return hit(rank, k) / rank


def ndcg(rank: Vector, k: int) -> Vector:
    """NDCG@k of each case with one relevant item (Järvelin & Kekäläinen 2002): 1 / log2(1 + rank), or 0 beyond k."""
    return np.asarray(hit(rank, k) / np.log2(1.0 + rank))


def auc_per_user(scores: Matrix) -> Vector:
    """The share of the other candidates that stand below the item taken, ties half; NaN where there are none."""
    taken, others = scores[:, :1], scores[:, 1:]
    there = (~np.isnan(others)).sum(axis=1)
    below = (others < taken).sum(axis=1) + 0.5 * (others == taken).sum(axis=1)
    return np.asarray(np.divide(below, there, out=np.full(len(scores), np.nan), where=there > 0))


def per_case(scores: Matrix) -> dict[str, Vector]:
    """Every metric that is a mean over cases, [N] each."""
    return {"auc_per_user": auc_per_user(scores), **of_ranks(ranks(scores))}


def of_ranks(rank: Vector) -> dict[str, Vector]:
    """Those of them that need only the rank, [N] each."""
    metrics = {"hr": hit, "mrr": reciprocal, "ndcg": ndcg}
    return {f"{name}@{k}": metric(rank, k) for name, metric in metrics.items() for k in CUTS}


@lru_cache(maxsize=2)  # all systems of an evaluation have as many cases
def _drawn(cases: int, seed: int) -> Matrix:
    """How often each case is in each of the resamples, [1000, N]."""
    random = np.random.default_rng(seed)
    return random.multinomial(cases, np.full(cases, 1 / cases), size=_RESAMPLES).astype(float)


class Bootstrap:
    """The same resampled cases for all systems and metrics: percentile intervals of 95%."""

    def __init__(self, cases: int, seed: int = 0) -> None:
        self._times = _drawn(cases, seed)

    def mean(self, values: Vector) -> Estimate:
        """The mean of a value of each case, without those that have none."""
        there = ~np.isnan(values)
        if not there.any():
            return Estimate(float("nan"), float("nan"), float("nan"))
        times = self._times[:, there]
        counts = times.sum(axis=1)
        means = (times @ values[there])[counts > 0] / counts[counts > 0]  # where none was drawn, there is no mean
        return Estimate.of(float(values[there].mean()), means)

    def pooled_auc(self, scores: Matrix) -> Estimate:
        """AUC over all pairs of an item taken and another candidate, of any users, as in the paper; ties half."""
        there = ~np.isnan(scores)
        case, column = np.nonzero(there)
        flat = scores[there]
        order = np.argsort(flat, kind="stable")
        case, taken = case[order], column[order] == 0
        _, level = np.unique(flat[order], return_inverse=True)
        weights = np.vstack([np.ones(len(scores)), self._times])
        values = np.array([_weighted_auc(one[case], taken, level) for one in weights])
        return Estimate.of(float(values[0]), values[1:])


def _weighted_auc(weight: Vector, taken: Mask, level: npt.NDArray[np.int_]) -> float:
    """AUC of rows sorted by score; `level` counts the different scores, `weight` how often a row is there."""
    positive = np.bincount(level, weight * taken)
    negative = np.bincount(level, weight * ~taken)
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative
    return float(positive @ (below + 0.5 * negative) / pairs) if pairs else float("nan")


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean difference of two systems on the same cases, its 95% interval, and p of the sign-flip test."""

    value: float
    low: float
    high: float
    p: float

    def to_json(self) -> dict[str, object]:
        return {"value": self.value, "ci95": [self.low, self.high], "p": self.p}


def paired(a: Vector, b: Vector, seed: int = 0) -> Difference:
    """Whether `a` is another metric than `b`, both of shape [N]: Fisher's randomisation test, two-sided.

    Under the null hypothesis the two values of a case may be swapped, so the signs of the differences are flipped at
    random (Smucker, Allan & Carterette 2007); p counts the observed assignment itself.
    """
    difference = (a - b)[~np.isnan(a - b)]
    if not len(difference):
        return Difference(float("nan"), float("nan"), float("nan"), 1.0)
    random = np.random.default_rng(seed)
    observed = abs(difference.mean())
    moved = difference[difference != 0]
    extreme = 0
    for _ in range(_FLIPS // 500):
        signs = random.integers(0, 2, (500, len(moved)), dtype=np.int8) * 2.0 - 1.0
        extreme += int((np.abs(signs @ moved) / len(difference) >= observed - 1e-12).sum())
    estimate = Bootstrap(len(difference), seed).mean(difference)
    return Difference(estimate.value, estimate.low, estimate.high, (extreme + 1) / (_FLIPS + 1))


def spread(lists: Sequence[Sequence[int]], popularity: Vector, catalogue: Mask) -> Mapping[str, float]:
    """Coverage (share of the `catalogue` that is recommended to anybody) and mean popularity of what is recommended.

    `lists` holds the items recommended to each user, `popularity` [I] their training interactions. An item that is not
    in the `catalogue` (mask of shape [I]) may be recommended, but covers nothing.
    """
    shown = [item for one in lists for item in one]
    covered = int(catalogue[np.unique(np.array(shown, int))].sum())
    return {
        "coverage": covered / max(1, int(catalogue.sum())),
        "mean_popularity": float(popularity[shown].mean()) if shown else float("nan"),
    }
