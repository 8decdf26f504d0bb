"""The fused score finds what its parts say, and is the same after a round through JSON."""

from __future__ import annotations

import numpy as np
import pytest

from msr_local.recall.fusion import SHAPES, fitted, listwise


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


def chosen(people: int, sampled: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Lists of a catalogue of 400 whose first item was taken by a softmax of two scores, and offsets.

    The others are drawn by the first score, as popular items are; the offsets say how likely each was to be drawn.
    """
    random = np.random.default_rng(seed)
    popular = random.exponential(1.0, 400)
    chance = popular / popular.sum()
    scores, offsets = [], []
    for _ in range(people):
        both = np.c_[popular, random.normal(0, 1, 400)]
        weights = np.exp(1.0 * both[:, 0] + 1.5 * both[:, 1])
        taken = random.choice(400, p=weights / weights.sum())
        others = [item for item in random.choice(400, sampled, False, p=chance) if item != taken]
        places = np.array([taken, *others])
        scores.append(np.pad(both[places], ((0, sampled + 1 - len(places)), (0, 0)), constant_values=np.nan))
        offsets.append(np.pad(np.log(-np.expm1(sampled * np.log1p(-chance[places]))), (0, sampled + 1 - len(places))))
    return np.array(scores), np.array(offsets)


def test_lists_that_favour_popular_items_teach_nothing_against_them() -> None:
    scores, offsets = chosen(1500, 40)
    corrected, not_corrected = (
        listwise(["popular", "taste"], scores, one) for one in (offsets, np.zeros_like(offsets))
    )
    grid = np.c_[np.linspace(0, 3, 30), np.zeros(30)], np.c_[np.full(30, 1.0), np.linspace(-2, 2, 30)]
    slopes = [np.polyfit(one[:, axis], corrected(one), 1)[0] for axis, one in enumerate(grid)]
    assert slopes == pytest.approx([1.0, 1.5], abs=0.2)  # those by which the items were taken
    assert np.polyfit(grid[0][:, 0], not_corrected(grid[0]), 1)[0] < 0.6


def test_of_a_list_only_the_order_within_counts() -> None:
    """A score that is the same for all of a list, as a user's own level is, tells nothing."""
    scores, offsets = chosen(200, 20)
    level = np.broadcast_to(np.random.default_rng(1).normal(size=(200, 1, 1)), (200, 21, 1))
    fusion = listwise(["popular", "taste", "level"], np.concatenate([scores, level], axis=-1), offsets)
    assert [fusion.weights[shape][2] for shape in SHAPES] == pytest.approx([0.0, 0.0, 0.0], abs=1e-4)
