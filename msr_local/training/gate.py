"""The check before registration: does the engine answer as the trained model does, and how good are the answers?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ..arrays import Indices, Mask, Vector
from ..engine.llama.process import EngineProcess
from ..engine.types import SCORE, EngineConfig
from ..evaluation.fused import fitted, recall_weight
from ..evaluation.metrics import Platt, auc_estimate, calibration_error, platt
from .rows import YES, Row

GATE_ROWS = 32  # validation questions on which the engine is compared with transformers


def spread(rows: list[Row]) -> list[Row]:
    """As many of the rows as the gate compares, at even distances, so that all kinds of them are among them."""
    if len(rows) <= GATE_ROWS:
        return rows
    return [rows[round(i * (len(rows) - 1) / (GATE_ROWS - 1))] for i in range(GATE_ROWS)]


def engine_log_odds(config: EngineConfig, rows: Sequence[Row]) -> tuple[Vector, float]:
    """z of each row by the engine, shape [N], and the median probability of yes and no together."""
    role = SCORE if SCORE in config.adapters else None
    z, coverage = [], []
    with EngineProcess(config) as engine:
        for _, group in groupby(rows, key=lambda row: row.prefix):
            questions = [row.question() for row in group]
            for answer in engine.log_odds(questions[0][0], [suffix for _, suffix in questions], adapter=role):
                z.append(answer.z)
                coverage.append(answer.coverage)
    return np.array(z), float(np.median(coverage)) if coverage else float("nan")


def agreement(z: Vector, reference: Vector) -> dict[str, float]:
    """How far `z` is from the trained model's `reference`, both of shape [N]."""
    delta = np.abs(z - reference)
    flat = np.ptp(z) == 0 or np.ptp(reference) == 0  # no order to compare: scipy would warn
    correlation = float("nan") if flat else spearmanr(z, reference).statistic
    return {
        "rows": len(z),
        "median_dz": float(np.median(delta)),
        "max_dz": float(delta.max()),
        "rank_correlation": float(correlation),
    }


def refusals(parity: dict[str, dict[str, Any]], max_delta: float, min_correlation: float) -> Iterator[str]:
    """Why the result must not be registered; nothing when it may. A missing number (None, NaN) is a reason too."""
    delta, correlation = parity["adapter"]["median_dz"], parity["merged"]["rank_correlation"]
    if delta is None or not delta <= max_delta:
        yield f"the adapter's median difference from the trained model is {_shown(delta)} (allowed: {max_delta})"
    if correlation is None or not correlation >= min_correlation:
        yield (
            f"the merged model's rank correlation with the trained model is {_shown(correlation)} "
            f"(needed: {min_correlation})"
        )


def _shown(value: float | None) -> str:
    return "not a number" if value is None or not np.isfinite(value) else f"{value:.4f}"


def measures(rows: Sequence[Row], before: Vector, after: Vector, merged: Vector) -> dict[str, Any]:
    """AUC of p(yes) on validation rows before and after training, beside recall and fused with it, and calibration.

    What is fitted (calibration, fusion) is measured on the half of the users that it was not fitted on.
    """
    answers = np.array([float(row.answer == YES) for row in rows])
    recall = recalled(rows)
    groups, moments = [row.group for row in rows], moments_of(rows)
    halves = _halves(groups)
    p_plain = Platt(1.0, 0.0)(after)
    p_fitted, p_fused = p_plain.copy(), np.zeros(len(rows))
    for half in (halves, ~halves):
        scaling = platt(after[half], answers[half])
        p_fitted[~half] = scaling(after[~half]) if scaling else p_plain[~half]
        both = after + recall_weight(after[half], recall[half], answers[half], moments[half]) * recall
        scaling = platt(both[half], answers[half])  # the halves have weights of their own: made comparable
        p_fused[~half] = (scaling or Platt(1.0, 0.0))(both[~half])
    scores = {"before": before, "after": after, "merged": merged, "recall": recall, "fused": p_fused}
    return {
        **{name: {"auc": auc_estimate(values, answers, groups).to_json()} for name, values in scores.items()},
        "calibration_error": {
            "before": calibration_error(p_plain, answers),
            "after": calibration_error(p_fitted, answers),
            "fused": calibration_error(p_fused, answers),
        },
    }


def moments_of(rows: Sequence[Row]) -> Indices:
    """The number of the moment of each row, shape [N]: of the user and how much was known."""
    numbers: dict[tuple[str, int], int] = {}
    return np.array([numbers.setdefault((row.user, row.at), len(numbers)) for row in rows], np.int32)


def recalled(rows: Sequence[Row]) -> Vector:
    """The recall of each row, shape [N]: where it was learned, the learned one."""
    return np.array([row.recall if row.learned is None else row.learned for row in rows])


def fusion(rows: Sequence[Row], z: Vector) -> dict[str, Any]:
    """What a manifest keeps as `fusion`, fitted on validation rows and their log-odds z [N].

    "recall" is the weight of recall by hand, "learned" that of learned recall, on the rows that have it (None: none
    has). "calibration" has for each of the two the scaling of the score to a probability, or None where there is none.
    """
    answers = np.array([float(row.answer == YES) for row in rows])
    there = np.array([row.learned is not None for row in rows], bool)
    moments = moments_of(rows)
    by_hand = fitted(z, np.array([row.recall for row in rows]), answers, moments).to_json()
    learned: dict[str, Any] = {"recall": None, "calibration": None}
    if there.any():
        learned = fitted(z[there], recalled(rows)[there], answers[there], moments[there]).to_json()
    calibrations = {"recall": by_hand["calibration"], "learned": learned["calibration"]}
    return {"recall": by_hand["recall"], "learned": learned["recall"], "calibration": calibrations}


def _halves(groups: Sequence[str]) -> Mask:
    """Every other user, so that a user's rows stay together."""
    order = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([order[group] % 2 == 0 for group in groups])
