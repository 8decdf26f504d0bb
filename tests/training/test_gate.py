"""The gate: what is let through, what is refused and why, and how the measures are taken."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from msr_local.evaluation.fused import recall_weight
from msr_local.recall.candidates import RECALL_WEIGHT
from msr_local.training.gate import agreement, fusion, measures, recalled, refusals
from msr_local.training.rows import NO, YES, Row


def parity(median: float | None = 0.01, correlation: float | None = 0.995) -> dict[str, dict[str, float | None]]:
    return {"adapter": {"median_dz": median}, "merged": {"rank_correlation": correlation}}


def rows(answers: Sequence[float]) -> list[Row]:
    rng = np.random.default_rng(0)
    return [
        Row(f"u{n // 4}", n, f"i{n}", YES if yes else NO, (), (("special", ""),), (1, 2), float(rng.random()))
        for n, yes in enumerate(answers)
    ]


def test_within_the_limits_nothing_is_refused() -> None:
    assert list(refusals(parity(0.05, 0.99), 0.05, 0.99)) == []


@pytest.mark.parametrize(
    ("median", "correlation", "said"),
    [
        (0.051, 1.0, ["difference from the trained model is 0.0510"]),
        (0.0, 0.98, ["rank correlation with the trained model is 0.9800"]),
        (math.nan, None, ["not a number", "not a number"]),
        (None, math.nan, ["not a number", "not a number"]),
    ],
)
def test_over_the_limits_it_says_which_and_by_how_much(
    median: float | None, correlation: float | None, said: list[str]
) -> None:
    found = list(refusals(parity(median, correlation), 0.05, 0.99))
    assert len(found) == len(said)
    assert all(words in reason for words, reason in zip(said, found, strict=True))


def test_agreement() -> None:
    reference = np.array([0.0, 1.0, 2.0, 3.0])
    found = agreement(reference + np.array([0.1, -0.2, 0.3, 0.0]), reference)
    assert found == pytest.approx({"rows": 4, "median_dz": 0.15, "max_dz": 0.3, "rank_correlation": 1.0})
    assert agreement(-reference, reference)["rank_correlation"] == pytest.approx(-1)
    assert math.isnan(agreement(np.zeros(4), reference)["rank_correlation"])


def test_recall_gets_the_weight_that_predicts_best() -> None:
    rng = np.random.default_rng(1)
    z, recall = rng.normal(size=20_000), rng.random(20_000)
    answers = (rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * z + 3.0 * recall - 1.5)))).astype(float)
    each = np.arange(len(z), dtype=np.int32)
    assert recall_weight(z, recall, answers, each) == pytest.approx(6.0, rel=0.15)
    assert recall_weight(-z, recall, answers, each) > 100  # a model that tells the opposite orders nothing
    assert recall_weight(-z, -recall, answers, each) == RECALL_WEIGHT
    assert recall_weight(z, -recall, answers, each) == 0.0


def test_the_weight_of_recall_is_that_within_lists() -> None:
    """Some people take more of what they are asked about, and recall is higher for them: no list changes by it."""
    rng = np.random.default_rng(5)
    moments = np.repeat(np.arange(800, dtype=np.int32), 9)
    eager = rng.normal(0, 2, 800)[moments]
    z, recall = rng.normal(size=len(moments)), rng.random(len(moments))
    likely = 0.5 * z + 3.0 * recall - 1.5 - 2.0
    answers = (rng.random(len(moments)) < 1 / (1 + np.exp(-likely - eager))).astype(float)
    misled = recall_weight(z, recall + eager, answers, np.arange(len(z), dtype=np.int32))
    assert recall_weight(z, recall + eager, answers, moments) == pytest.approx(6.0, rel=0.2)
    assert misled < 4.0


def test_a_learned_recall_has_a_weight_of_its_own() -> None:
    rng = np.random.default_rng(3)
    z, learned = rng.normal(size=1000), rng.random(1000)
    answers = (rng.random(1000) < 1 / (1 + np.exp(-(0.5 * z + 3.0 * learned - 1.5)))).astype(float)
    by_hand = rows(answers.tolist())  # with random recall
    both = [replace(row, learned=float(one)) for row, one in zip(by_hand, learned, strict=True)]
    assert recalled(by_hand).tolist() == [row.recall for row in by_hand]
    assert recalled(both).tolist() == learned.tolist()
    assert fusion(by_hand, z)["learned"] is None
    found = fusion(both, z)
    assert found["recall"] == fusion(by_hand, z)["recall"] < 1.0
    assert found["learned"] == pytest.approx(6.0, rel=0.5)
    assert (
        measures(both, z, z, z)["recall"]["auc"]["value"] > 0.7 > measures(by_hand, z, z, z)["recall"]["auc"]["value"]
    )


def test_the_score_becomes_the_share_of_positives_for_each_kind_of_recall() -> None:
    rng = np.random.default_rng(4)
    z, learned = rng.normal(size=4000), rng.random(4000)
    answers = (rng.random(4000) < 1 / (1 + np.exp(-(z + 4.0 * learned - 4.0)))).astype(float)
    some = rows(answers.tolist())
    half = [replace(row, learned=float(learned[n])) if n < 2000 else row for n, row in enumerate(some)]
    found = fusion(half, z)
    for kind, recall, where in (
        ("recall", np.array([row.recall for row in some]), slice(None)),
        ("learned", learned, slice(2000)),
    ):
        scaling = found["calibration"][kind]
        p = 1 / (1 + np.exp(-(scaling["a"] * (z + found[kind] * recall) + scaling["b"])))[where]
        assert scaling["a"] > 0
        assert p.mean() == pytest.approx(answers[where].mean(), abs=0.02)
        likely = p > np.median(p)
        for half_of_them in (likely, ~likely):
            assert p[half_of_them].mean() == pytest.approx(answers[where][half_of_them].mean(), abs=0.05)
    assert found["learned"] == pytest.approx(fusion(half[:2000], z[:2000])["learned"])


def test_what_nothing_predicts_gets_no_calibration() -> None:
    found = fusion(rows([1.0] * 40), np.zeros(40))
    assert found["calibration"] == {"recall": None, "learned": None}


def test_an_overconfident_model_is_calibrated_on_users_it_was_not_fitted_on() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=2000)
    answers = (rng.random(2000) < 1 / (1 + np.exp(-true))).astype(float)
    z = 4 * true + 2
    found = measures(rows(answers), z, z, z)
    assert found["before"]["auc"] == found["after"]["auc"] == found["merged"]["auc"]
    assert found["calibration_error"]["before"] > 0.15
    assert found["calibration_error"]["after"] < 0.05
    assert found["calibration_error"]["fused"] < 0.05


def test_noise_stays_noise() -> None:
    """A weight of recall that is measured where it was fitted would make something of it."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=400)
    found = measures(rows(rng.integers(0, 2, 400)), z, z, z)
    for name in ("after", "recall", "fused"):
        low, high = found[name]["auc"]["ci95"]
        assert low < 0.5 < high


@pytest.mark.parametrize("seed", [1, 2, 3, 5])
def test_both_together_are_not_worse_for_the_halves_having_weights_of_their_own(seed: int) -> None:
    """Of few questions the two weights come out far apart, and sums of different scales cannot be ranked together."""
    rng = np.random.default_rng(seed)
    answers = (np.arange(120) % 4 == 0).astype(float)
    z = answers + rng.normal(-2, 1, 120)
    same = 0.7 + 0.05 * (z + rng.normal(0, 0.05, 120))  # nearly what z says, so that any weight is as good
    seen = [replace(row, recall=float(recall)) for row, recall in zip(rows(answers), same, strict=True)]
    found = measures(seen, z, z, z)
    assert found["fused"]["auc"]["value"] == pytest.approx(found["after"]["auc"]["value"], abs=0.03)


def test_one_user_alone_has_all_measures_and_no_warnings() -> None:
    some = [replace(row, user="ada") for row in rows([1.0, 0.0] * 8)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measures(some, *(np.arange(16.0),) * 3)
        assert recall_weight(np.zeros(2), np.ones(2), np.ones(2), np.arange(2, dtype=np.int32)) == RECALL_WEIGHT
    assert all(np.isfinite(found[name]["auc"]["value"]) for name in ("after", "recall", "fused"))
