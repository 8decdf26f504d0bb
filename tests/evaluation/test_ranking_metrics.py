"""Ranking metrics: against ranx, brute force and numbers made by hand; intervals and the paired test."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.arrays import padded
from msr_local.evaluation import ranking
from msr_local.evaluation.metrics import auc
from msr_local.evaluation.standing import Standing

NAN = float("nan")
SCORE = st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.floats(-1e6, 1e6), st.just(NAN))
SCORES = st.integers(1, 7).flatmap(
    lambda columns: st.lists(st.lists(SCORE, min_size=columns, max_size=columns), min_size=1, max_size=12)
)


def matrix(rows: list[list[float]]) -> npt.NDArray[np.float64]:
    return np.array(rows, float)


@pytest.mark.filterwarnings("ignore::Warning")  # numba's, about ranx's own code
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hr_mrr_and_ndcg_are_those_of_ranx(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes a minute, and these few numbers none
    ranx = pytest.importorskip("ranx")
    scores = np.random.default_rng(seed).permuted(
        np.tile(np.arange(25.0), (60, 1)), axis=1
    )  # no ties: ranx breaks them
    names = [f"i{n}" for n in range(25)]
    run = ranx.Run({f"u{n}": dict(zip(names, map(float, row), strict=True)) for n, row in enumerate(scores)})
    qrels = ranx.Qrels({f"u{n}": {"i0": 1} for n in range(len(scores))})
    wanted = {f"{ours}@{k}": f"{theirs}@{k}" for ours, theirs in
              (("hr", "hit_rate"), ("mrr", "mrr"), ("ndcg", "ndcg")) for k in ranking.CUTS}  # fmt: skip
    theirs = ranx.evaluate(qrels, run, list(wanted.values()))
    ours = ranking.per_case(scores)
    assert {name: ours[name].mean() for name in wanted} == pytest.approx(
        {name: theirs[other] for name, other in wanted.items()}
    )


@given(SCORES)
def test_a_rank_is_the_middle_of_its_equals_and_a_missed_item_has_none(rows: list[list[float]]) -> None:
    for row, rank in zip(rows, ranking.ranks(matrix(rows)), strict=True):
        if math.isnan(row[0]):
            assert rank == math.inf
            continue
        others = [one for one in row[1:] if not math.isnan(one)]
        best, worst = 1 + sum(one > row[0] for one in others), 1 + sum(one >= row[0] for one in others)
        assert rank == (best + worst) / 2


@given(SCORES)
def test_a_user_s_auc_is_the_share_of_pairs_in_order(rows: list[list[float]]) -> None:
    for row, found in zip(rows, ranking.auc_per_user(matrix(rows)), strict=True):
        others = [one for one in row[1:] if not math.isnan(one)]
        if not others:
            assert math.isnan(found)
        elif not math.isnan(row[0]):
            assert found == pytest.approx(
                sum(1.0 if row[0] > one else 0.5 if row[0] == one else 0.0 for one in others) / len(others)
            )
        else:
            assert found == 0.0  # missed: below all


@given(SCORES)
def test_pooled_auc_is_that_of_all_rows_together(rows: list[list[float]]) -> None:
    scores = matrix(rows)
    there = ~np.isnan(scores)
    taken = np.zeros_like(scores)
    taken[:, 0] = 1
    expected = auc(scores[there], taken[there])
    found = ranking.Bootstrap(len(scores)).pooled_auc(scores).value
    assert found == pytest.approx(expected, nan_ok=True)


def test_metrics_of_a_few_ranks_by_hand() -> None:
    rank = np.array([1.0, 2.0, 2.5, 6.0, math.inf])
    assert [*ranking.hit(rank, 5)] == [1, 1, 1, 0, 0]
    assert [*ranking.reciprocal(rank, 5)] == pytest.approx([1, 0.5, 0.4, 0, 0])
    assert [*ranking.ndcg(rank, 10)] == pytest.approx([1, 1 / math.log2(3), 1 / math.log2(3.5), 1 / math.log2(7), 0])


def test_rows_of_different_lengths_become_one_table() -> None:
    made = padded([np.array([1.0, 2.0]), np.array([3.0])])
    assert made.shape == (2, 2) and math.isnan(made[1, 1]) and [*ranking.ranks(made)] == [2, 1]


def test_an_interval_holds_the_true_value_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    held = 0
    for seed in range(300):
        estimate = ranking.Bootstrap(80, seed).mean((random.random(80) < 0.3).astype(float))
        held += estimate.low <= 0.3 <= estimate.high
    assert 0.90 <= held / 300 <= 0.98  # 95% asked for; the 99% interval of 300 trials is about +-3


def test_cases_without_a_value_do_not_widen_an_interval() -> None:
    found = ranking.Bootstrap(4).mean(np.array([0.9, 1.0, NAN, NAN]))
    assert (found.low, found.value, found.high) == (0.9, 0.95, 1.0)


def test_the_paired_test_finds_a_difference_and_no_other() -> None:
    random = np.random.default_rng(4)
    a = random.normal(0, 1, 400)
    found = ranking.paired(a + 0.2 + random.normal(0, 1, 400), a)
    assert found.p < 0.01 and found.low < found.value < found.high
    same = [ranking.paired(*random.normal(0, 1, (2, 60)), seed=seed).p for seed in range(100)]
    assert 0.0 <= np.mean(np.array(same) < 0.05) <= 0.12  # 5% asked for


def test_equal_systems_do_not_differ() -> None:
    assert ranking.paired(np.ones(9), np.ones(9)).p == 1.0
    assert ranking.paired(np.full(3, NAN), np.ones(3)).p == 1.0


def test_coverage_and_popularity_of_what_is_recommended() -> None:
    count = np.array([8.0, 4.0, 0.0, 5.0])
    found = ranking.spread([[0, 1], [1, 2]], count, np.ones(4, bool))
    assert found == {"coverage": 0.75, "mean_popularity": 4.0}
    everything = ranking.spread([[0, 1], [2, 3]], count, count > 0)  # an item that nothing was known of is no share
    assert everything["coverage"] == 1.0 and ranking.spread([], count, count > 0)["coverage"] == 0.0


def test_of_equals_the_item_taken_is_not_recommended_before_others() -> None:
    candidates = np.array([11, 3, 0, 1, 2, 10, 4, 5, 6, 7, 8, 9], np.int32)  # the first one was taken
    assert Standing.of(np.zeros((1, 12)), [candidates], drawn=True).best == [[*range(10)]]
