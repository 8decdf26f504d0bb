"""AUC, its intervals, calibration and its error: against brute force, other programs and numbers made by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import mannwhitneyu

from msr_local.evaluation.metrics import (
    Estimate,
    Platt,
    auc,
    auc_estimate,
    calibration_error,
    mean_estimate,
    platt,
)
from msr_local.recall.logistic import logistic

Vector = npt.NDArray[np.float64]
FEW = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0])  # ties are common
SCORED = st.lists(st.tuples(st.one_of(FEW, st.floats(-1e6, 1e6)), st.sampled_from([0.0, 1.0])), max_size=40)


def vectors(rows: list[tuple[float, float]]) -> tuple[Vector, Vector]:
    both = np.array(rows, float).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def sigmoid(s: Vector) -> Vector:
    return 1 / (1 + np.exp(-s))


# ---- AUC


@given(SCORED)
def test_auc_is_the_share_of_pairs_in_the_right_order_and_ties_count_half(rows: list[tuple[float, float]]) -> None:
    yes, no = ([score for score, answer in rows if answer == one] for one in (1, 0))
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in yes for b in no]
    found = auc(*vectors(rows))
    assert found == pytest.approx(sum(pairs) / len(pairs)) if pairs else math.isnan(found)


def test_auc_agrees_with_the_u_statistic_of_scipy() -> None:
    random = np.random.default_rng(1)
    scores, answers = np.round(random.normal(0, 1, 500), 1), (random.random(500) < 0.3).astype(float)
    u = mannwhitneyu(scores[answers == 1], scores[answers == 0]).statistic
    assert auc(scores, answers) == pytest.approx(u / answers.sum() / (1 - answers).sum())


@pytest.mark.parametrize(
    ("scores", "answers", "expected"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),  # the example of scikit-learn's documentation
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 0.0),
        ([7, 7, 7, 7], [1, 0, 1, 0], 0.5),
    ],
)
def test_known_areas(scores: list[float], answers: list[float], expected: float) -> None:
    assert auc(np.array(scores, float), np.array(answers, float)) == expected


@pytest.mark.parametrize("answers", [[], [1, 1, 1], [0, 0]])
def test_without_both_answers_there_is_no_area(answers: list[float]) -> None:
    one = np.array(answers, float)
    assert math.isnan(auc(np.arange(len(one), dtype=float), one))
    found = auc_estimate(np.arange(len(one), dtype=float), one, ["u"] * len(one))
    assert math.isnan(found.value) and math.isnan(found.low) and math.isnan(found.high)


# ---- its interval


def simulated(random: np.random.Generator, users: int) -> tuple[Vector, Vector, list[str]]:
    """Three yes and three no rows a user, whose scores share half of their variance."""
    mood = np.repeat(random.normal(0, 1, users), 6)
    answers = np.tile([1.0, 0.0], 3 * users)
    return answers + mood + random.normal(0, 1, 6 * users), answers, [f"u{n // 6}" for n in range(6 * users)]


def test_intervals_cover_the_truth_about_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(5)
    truth = auc(*simulated(random, 40_000)[:2])
    found = [auc_estimate(*simulated(random, 30), seed=n) for n in range(50)]
    assert all(one.low <= one.value <= one.high for one in found)
    assert 43 <= sum(one.low <= truth <= one.high for one in found) <= 50


def test_more_users_make_a_narrower_interval() -> None:
    random = np.random.default_rng(6)
    widths = [one.high - one.low for one in (auc_estimate(*simulated(random, n)) for n in (10, 40, 160))]
    assert all(wide > 1.4 * narrow for wide, narrow in pairwise(widths))


def test_rows_of_one_user_are_drawn_together() -> None:
    """Ten copies of each row tell no more than one, if they are known to be one user's."""
    random = np.random.default_rng(7)
    scores, answers = random.normal(0, 1, 40), np.tile([1.0, 0.0], 20)
    users = [f"u{n}" for n in range(40)]
    alone = auc_estimate(scores, answers, users)
    copied = auc_estimate(np.repeat(scores, 10), np.repeat(answers, 10), np.repeat(users, 10).tolist())
    assert copied == alone
    loose = auc_estimate(np.repeat(scores, 10), np.repeat(answers, 10), list(range(400)))
    assert loose.high - loose.low < (alone.high - alone.low) / 2


def test_an_interval_comes_again_with_its_seed_only() -> None:
    rows = simulated(np.random.default_rng(8), 12)
    assert auc_estimate(*rows, seed=3) == auc_estimate(*rows, seed=3)
    assert auc_estimate(*rows, seed=3) != auc_estimate(*rows, seed=4)


def test_one_user_has_an_interval_without_width() -> None:
    found = auc_estimate(np.array([1.0, 2.0, 0.0]), np.array([0.0, 1.0, 1.0]), ["u"] * 3)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_an_estimate_for_people_and_for_programs() -> None:
    assert str(Estimate(0.7512, 0.6, 0.81)) == "0.751 [0.600, 0.810]"
    assert Estimate(0.75, 0.6, 0.8).to_json() == {"value": 0.75, "ci95": [0.6, 0.8]}


# ---- calibration error


@pytest.mark.parametrize(
    ("p", "answers", "expected"),
    [
        ([0.95, 0.95, 0.05, 0.05], [1, 1, 0, 0], 0.05),
        ([0.95, 0.95, 0.95, 0.95], [1, 1, 0, 0], 0.45),
        ([0.15, 0.85], [1, 0], 0.85),
        ([0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], 0.0),
        ([0.22, 0.28, 0.71, 0.79], [0, 1, 1, 1], 0.25),  # (|0.25 - 0.5| + |0.75 - 1|) / 2
        ([1.0, 0.0], [1, 0], 0.0),  # the borders belong to the outer bins
        ([1.0, 1.0, 0.0], [0, 1, 0], 1 / 3),
        ([], [], 0.0),
    ],
)
def test_calibration_errors_made_by_hand(p: list[float], answers: list[float], expected: float) -> None:
    assert calibration_error(np.array(p, float), np.array(answers, float)) == pytest.approx(expected)


def test_one_bin_compares_the_means() -> None:
    assert calibration_error(np.array([0.1, 0.9, 0.8]), np.array([1.0, 0.0, 1.0]), bins=1) == pytest.approx(1 / 15)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0])), min_size=1, max_size=50))
def test_a_calibration_error_is_a_share(rows: list[tuple[float, float]]) -> None:
    assert 0 <= calibration_error(*vectors(rows)) <= 1


# ---- Platt scaling and logistic regression


def drawn(a: float, b: float, size: int, *, middle: float = 0.0, spread: float = 1.0) -> tuple[Vector, Vector]:
    """Log-odds, and answers that are yes with probability sigmoid(a z + b)."""
    random = np.random.default_rng(9)
    z = random.normal(middle, spread, size)
    return z, (random.random(size) < sigmoid(a * z + b)).astype(float)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.4, -1.0), (2.5, 0.7)])
def test_the_scaling_that_made_the_answers_is_found_again(a: float, b: float) -> None:
    found = platt(*drawn(a, b, 20_000))
    assert found is not None
    assert (found.a, found.b) == (pytest.approx(a, abs=0.12), pytest.approx(b, abs=0.12))


def test_log_odds_far_from_zero_and_close_together_are_no_harder() -> None:
    found = platt(*drawn(10.0, 200.0, 20_000, middle=-20.0, spread=0.1))
    assert found is not None
    assert found.a == pytest.approx(10, rel=0.1)
    assert found.a * -20 + found.b == pytest.approx(0, abs=0.1)


def test_scaling_mends_what_is_too_sure_of_itself() -> None:
    z, answers = drawn(0.25, 0.5, 4000, spread=3.0)
    found = platt(z[:2000], answers[:2000])
    assert found is not None
    before, after = (calibration_error(p, answers[2000:]) for p in (sigmoid(z[2000:]), found(z[2000:])))
    assert after < 0.05 < 0.15 < before


@pytest.mark.parametrize("answers", [[], [1.0] * 5, [0.0] * 5])
def test_one_answer_alone_cannot_be_scaled(answers: list[float]) -> None:
    assert platt(np.arange(len(answers), dtype=float), np.array(answers)) is None


def test_log_odds_that_say_the_opposite_are_not_scaled() -> None:
    z, answers = drawn(-1.0, 0.0, 500)
    assert platt(z, answers) is None


@pytest.mark.parametrize("z", [0.7, -3.3, 0.001, -0.001, 1e-13, 0.0, 1e6])
@pytest.mark.parametrize("answers", [[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 1.0]])
def test_equal_log_odds_say_nothing_and_are_not_scaled(z: float, answers: list[float]) -> None:
    assert platt(np.full(5 * len(answers), z), np.array(answers * 5)) is None


def test_perfectly_separated_rows_have_a_finite_slope() -> None:
    found = platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert found is not None
    assert 0 < found.a < 20
    assert abs(found.b) < 0.01


@given(SCORED)
def test_a_slope_is_positive_and_no_order_changes(rows: list[tuple[float, float]]) -> None:
    z, answers = vectors(rows)
    found = platt(z, answers)
    if found is None:
        return  # nothing is scaled; when that is right is asked above
    assert found.a > 0 and math.isfinite(found.a) and math.isfinite(found.b)
    p = found(np.sort(z))
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= 0).all()


@given(st.floats(-1e4, 1e4), st.floats(1e-6, 1e4), st.floats(-1e4, 1e4))
def test_a_probability_of_any_log_odds_is_one(z: float, a: float, b: float) -> None:
    p = float(Platt(a, b)(np.array([z]))[0])
    assert 0 <= p <= 1
    assert p == pytest.approx(0.5 * (1 + math.tanh((a * z + b) / 2)), abs=1e-12)


def test_a_scaling_as_the_manifest_keeps_it() -> None:
    assert Platt(1.5, -0.25).to_json() == {"a": 1.5, "b": -0.25}


def test_known_coefficients_are_found_again() -> None:
    random = np.random.default_rng(10)
    x = np.c_[random.normal(0, 1, 20_000), random.normal(5, 1, 20_000), random.random(20_000)]
    s = x @ np.array([1.2, -3.0, 0.0]) + 14.0
    found = logistic(x, (random.random(20_000) < sigmoid(s)).astype(float), ridge=0.0)
    assert found == pytest.approx([1.2, -3.0, 0.0, 14.0], abs=0.3)


def test_another_program_finds_the_same_minimum() -> None:
    random = np.random.default_rng(11)
    x, y = random.normal(0, 1, (60, 2)), random.random(60)

    def loss(w: Vector) -> float:
        s = x @ w[:2] + w[2]
        return float(np.mean(np.log1p(np.exp(s)) - y * s) + 0.5e-3 * ((w[:2] * x.std(axis=0)) ** 2).sum())

    other = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}).x
    assert logistic(x, y) == pytest.approx(other, abs=1e-3)


def test_the_unit_of_a_feature_does_not_matter() -> None:
    z, answers = drawn(1.0, 0.3, 400)
    plain, small = logistic(z[:, None], answers), logistic(z[:, None] * 1e-3, answers)
    assert small == pytest.approx([plain[0] * 1e3, plain[1]], rel=1e-3)


def test_a_feature_that_never_changes_gets_no_weight() -> None:
    z, answers = drawn(1.0, 0.3, 400)
    alone = logistic(z[:, None], answers)
    found = logistic(np.c_[z, np.full(400, 0.001)], answers)
    assert found[1] == pytest.approx(0, abs=1e-6)
    assert found[[0, 2]] == pytest.approx(alone, abs=1e-3)


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    found = [mean_estimate((random.random(60) < 0.3).astype(float), seed=n) for n in range(100)]
    assert 85 <= sum(one.low <= 0.3 <= one.high for one in found) <= 100


def test_rows_that_go_together_make_the_mean_less_certain() -> None:
    users = np.repeat(np.arange(20), 5)
    values = (users % 2).astype(float)  # all of a user's rows alike
    alone, together = mean_estimate(values), mean_estimate(values, list(users))
    assert alone.value == together.value == 0.5
    assert together.high - together.low > 1.8 * (alone.high - alone.low)


def test_there_is_no_mean_of_nothing() -> None:
    assert math.isnan(mean_estimate(np.zeros(0)).value)
