"""The score and its probability: what was fitted is used, and the order by one is that by the other."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from msr_local.models.spec import Fused

NUMBERS = st.floats(-50, 50)


@given(NUMBERS, NUMBERS, st.floats(0, 1), st.floats(0, 1), st.floats(0, 64))
def test_the_score_grows_with_both_of_its_parts(z: float, other: float, recall: float, more: float, w: float) -> None:
    fused = Fused(w)
    assert (fused.score(z, recall) <= fused.score(other, recall)) or z > other
    assert (fused.score(z, recall) <= fused.score(z, more)) or recall > more
    assert fused.score(z, 0) == z and fused.score(0, recall) == w * recall


@given(NUMBERS, NUMBERS, st.floats(1e-3, 10), NUMBERS)
def test_the_order_by_probability_is_that_by_score(one: float, other: float, a: float, b: float) -> None:
    assume(one < other)
    low, high = (Fused(16.0, (a, b)).probability(score) for score in (one, other))
    assert low is not None and high is not None and 0 <= low <= high <= 1


def test_without_a_calibration_there_is_no_probability() -> None:
    assert Fused(16.0).probability(3.0) is None
    assert Fused(16.0, (0.5, 1.0)).probability(-2.0) == 0.5
