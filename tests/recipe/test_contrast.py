"""Effects against those on others, and whom an item is compared with."""

from __future__ import annotations

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from msr_local.recall.candidates import Candidate
from msr_local.recipe.contrast import COMPARED, compared, contexts, effect
from msr_local.recipe.judge import Asked
from msr_local.recipe.scoring import Evidence, Part
from msr_local.recipe.views import SMALL
from msr_local.recipe.views import Evidence as Shown
from msr_local.store.rows import Item

SHIFTS = st.lists(st.floats(-3, 3), max_size=20)


@given(st.floats(-3, 3), SHIFTS, st.floats(-3, 3))
def test_what_moves_all_alike_is_no_effect(own: float, others: list[float], shift: float) -> None:
    one, moved = effect(own, others), effect(own + shift, [other + shift for other in others])
    assert moved.value == pytest.approx(one.value + (0 if others else shift), abs=1e-9)
    if len(others) > 1 and one.ci95 and moved.ci95:
        assert moved.ci95 == pytest.approx(one.ci95, abs=1e-9)


@given(st.floats(-3, 3), SHIFTS.filter(lambda some: len(some) > 1))
def test_the_interval_is_students_around_the_effect(own: float, others: list[float]) -> None:
    found = effect(own, others)
    assert found.ci95 and found.common is not None
    assert found.ci95[0] <= found.value <= found.ci95[1]
    half = scipy.stats.t.ppf(0.975, len(others) - 1) * scipy.stats.sem(others)
    assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * half, abs=1e-9)


@pytest.mark.parametrize(
    ("delta", "ci95", "clear"),
    [
        (0.5, (0.4, 0.6), True),
        (-0.5, (-0.6, -0.4), True),
        (0.5, (-0.1, 1.1), False),
        (SMALL / 2, (SMALL / 2, SMALL / 2), False),
        (0.5, None, True),
        (float("nan"), None, False),
    ],
)
def test_an_effect_is_clear_if_it_is_neither_small_nor_uncertain(
    delta: float, ci95: tuple[float, float] | None, clear: bool
) -> None:
    assert Shown("hint", "x", delta, ci95).clear is clear


def asked(number: int) -> Asked:
    item_id = f"i{number}"
    return Asked(Item(item_id, item_id), Candidate(item_id, 0.5, {}, None, 0.0), Evidence("", (), "", "", "", ""))


@given(st.integers(0, 120), st.integers(0, 130), st.integers(1, 120))
def test_an_item_is_compared_with_the_first_others_and_a_spread_of_the_rest(count: int, item: int, k: int) -> None:
    ranked = [asked(number) for number in range(count)]
    others = [one.item.item_id for one in compared(ranked, f"i{item}", k)]
    assert f"i{item}" not in others and len(set(others)) == len(others)
    rest = [one.item.item_id for one in ranked if one.item.item_id != f"i{item}"]
    assert others == [one for one in rest if one in others]  # in order
    assert len(others) == min(len(rest), COMPARED)
    first = min(k, COMPARED // 3)
    assert others[:first] == rest[:first]
    if len(rest) > COMPARED:
        assert others[-1] == rest[-1]


WHOLE = Evidence("She likes red.", ("a red shoe", "a blue shoe"), "A bag", "A red bag.", "Popular.", "ab12")


@pytest.mark.parametrize(
    ("part", "left"),
    [
        (Part("history", 1), Evidence("", ("a blue shoe",), "A bag", "A red bag.", "", "ab12")),
        (Part("summary"), Evidence("She likes red.", (), "A bag", "A red bag.", "", "ab12")),
        (Part("hint"), Evidence("", (), "A bag", "A red bag.", "Popular.", "ab12")),
        (Part("caption"), Evidence("She likes red.", WHOLE.history, "A bag", "A red bag.", "", "ab12")),
        (Part("image"), Evidence("She likes red.", WHOLE.history, "A bag", "A red bag.", "", "ab12")),
    ],
)
def test_a_part_is_measured_beside_all_others_and_without_what_may_say_the_same(part: Part, left: Evidence) -> None:
    everything, rest = contexts(part, WHOLE.parts)
    assert not everything
    assert WHOLE.less(rest) == left


def test_the_only_part_is_measured_once() -> None:
    assert contexts(Part("caption"), [Part("caption")]) == [frozenset()]
    assert contexts(Part("history"), [Part("caption"), Part("history")]) == [frozenset()]
