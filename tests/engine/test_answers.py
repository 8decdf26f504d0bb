"""The yes/no read-out against a plain softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msr_local.engine.answers import answer_log_odds, sigmoid, spellings

rows = arrays(np.float32, 12, elements=st.floats(-60, 60, width=32))


@given(rows)
def test_equals_the_softmax(logits: np.ndarray) -> None:
    p = np.exp(logits.astype(np.float64) - logits.max())
    p /= p.sum()
    z, coverage = answer_log_odds(logits, [1, 4], [2, 5, 7])
    assert z == pytest.approx(math.log(p[[1, 4]].sum()) - math.log(p[[2, 5, 7]].sum()), abs=1e-6)
    assert coverage == pytest.approx(p[[1, 4, 2, 5, 7]].sum(), abs=1e-9)
    yes, no = p[[1, 4]].sum(), p[[2, 5, 7]].sum()
    assert sigmoid(z) == pytest.approx(yes / (yes + no), abs=1e-9)


@given(rows, st.floats(-1000, 1000))
def test_a_shift_of_all_logits_changes_nothing(logits: np.ndarray, shift: float) -> None:
    z, _ = answer_log_odds(logits.astype(np.float64) + shift, [0], [1])
    assert z == pytest.approx(float(logits[0]) - float(logits[1]), abs=1e-6)


@given(st.floats(-1e6, 1e6))
def test_sigmoid_stays_in_bounds(z: float) -> None:
    assert 0.0 <= sigmoid(z) <= 1.0
    assert sigmoid(z) + sigmoid(-z) == pytest.approx(1.0)


def test_spellings() -> None:
    assert spellings("yes") == ["Yes", " Yes", "yes", " yes", "YES", " YES"]
