"""The fused score finds what its parts say, and is the same after a round through JSON."""

from __future__ import annotations

import numpy as np
import pytest

from msr_local.recipe.fusion import SHAPES, fitted


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two scores of which the first tells, by its root, and the answers."""
    random = np.random.default_rng(seed)
    scores = np.c_[random.exponential(1.0, count), random.normal(0, 1, count)]
    return scores, (random.random(count) < 1 / (1 + np.exp(-(3 * np.sqrt(scores[:, 0]) - 3)))).astype(float)


def test_what_tells_is_found_and_what_does_not_is_left_alone() -> None:
    scores, answers = drawn(4000)
    fusion = fitted(["a", "b"], scores, answers)
    fresh, truth = drawn(4000, seed=1)
    wanted = 3 * np.sqrt(fresh[:, 0]) - 3
    assert np.corrcoef(fusion(fresh), wanted)[0, 1] > 0.98
    moved = fresh.copy()
    moved[:, 1] += 1.0
    assert np.abs(fusion(moved) - fusion(fresh)).mean() < 0.2
    p = 1 / (1 + np.exp(-fusion(fresh)))
    assert abs(p.mean() - truth.mean()) < 0.03  # calibrated


def test_any_leading_shape_of_scores_will_do() -> None:
    scores, answers = drawn(200)
    fusion = fitted(["a", "b"], scores, answers)
    assert np.allclose(fusion(scores.reshape(20, 10, 2)).ravel(), fusion(scores))


def test_a_score_that_never_changes_gets_no_weight() -> None:
    scores, answers = drawn(200)
    scores[:, 1] = 7.0
    fusion = fitted(["a", "b"], scores, answers)
    assert [fusion.weights[shape][1] for shape in SHAPES] == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    assert set(fusion.to_json()) == {"scores", "weights", "intercept"}


def test_a_missing_score_makes_a_missing_sum() -> None:
    scores, answers = drawn(50)
    fusion = fitted(["a", "b"], scores, answers)
    scores[3, 0] = np.nan
    assert np.isnan(fusion(scores)).nonzero()[0].tolist() == [3]
