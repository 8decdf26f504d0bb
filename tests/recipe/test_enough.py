"""Asking stops when no other candidate can reach the list, and not before."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.arrays import Vector
from msr_local.recipe.enough import GROUP, MISS, reach, until_settled

LISTS, ALL, K = 300, 100, 10


def person(rng: np.random.Generator, noise: float) -> tuple[Vector, Vector]:
    """What recall says of 100 candidates, best first, and answers that go with it more or less."""
    known = np.sort(rng.gamma(2.0, 1.2, ALL))[::-1]
    return known, 0.5 * known + rng.normal(0, noise, ALL)


def asked(known: Vector, added: Vector, miss: float) -> int:
    """About how many candidates was asked."""
    last = 0

    def ask(part: slice) -> Generator[None, None, Vector]:
        nonlocal last
        assert part.start == last
        last = part.stop
        yield
        return added[part]

    steps = len(list(until_settled(known, ask, K, miss)))
    assert steps == 1 + max(0, -(-(last - 2 * GROUP) // GROUP)) or not miss
    return last


@pytest.mark.parametrize("noise", [0.3, 0.8, 2.0])
def test_the_list_is_that_of_asking_about_all(noise: float) -> None:
    """9.95 of the first ten on average over people, 9.9 where answers are much wider than those of any model tried."""
    rng = np.random.default_rng(0)
    same, counts = [], []
    for known, added in (person(rng, noise) for _ in range(LISTS)):
        count = asked(known, added, MISS)
        whole, part = (set(np.argsort(-(known + added)[:n])[:K].tolist()) for n in (ALL, count))
        same.append(len(whole & part))
        counts.append(count)
    assert np.mean(same) >= (9.95 if noise < 1.0 else 9.9)
    if noise < 1.0:
        assert np.mean(counts) < 0.7 * ALL


def test_nobody_is_left_out_who_is_level_with_the_list() -> None:
    """Where recall tells none from another, all are asked."""
    rng = np.random.default_rng(1)
    assert asked(np.ones(ALL), rng.normal(0, 1, ALL), MISS) == ALL


def test_all_are_asked_with_miss_0() -> None:
    known = np.r_[np.full(K, 100.0), np.zeros(ALL - K)]
    assert asked(known, np.zeros(ALL), 0.0) == ALL
    assert asked(known, np.zeros(ALL), MISS) == 2 * GROUP


def test_wider_answers_make_more_of_them_needed() -> None:
    """The spread is learned from the answers."""
    rng = np.random.default_rng(2)
    known = np.sort(rng.gamma(2.0, 1.2, ALL))[::-1]
    noise = rng.normal(0, 1, ALL)
    narrow, wide = (np.max(reach(known, width * noise[:40], K)) for width in (0.2, 3.0))
    assert narrow < wide


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 20), st.floats(0.0, 1.0))
def test_any_number_of_candidates(count: int, seed: int, k: int, miss: float) -> None:
    rng = np.random.default_rng(seed)
    known, seen = np.sort(rng.normal(0, 1, count))[::-1], []

    def ask(part: slice) -> Generator[None, None, Vector]:
        seen.extend(range(part.start, part.stop))
        yield
        return rng.normal(0, 1, part.stop - part.start)

    list(until_settled(known, ask, k, miss))
    assert seen == list(range(len(seen))) and len(seen) >= min(count, k)


def test_too_few_answers_predict_nothing() -> None:
    with pytest.raises(ValueError, match="too few"):
        reach(np.zeros(20), np.zeros(5), 10)
