"""Which interactions are for training, validation and test: one moment for all, or each user's last ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.recall.splits import TEST, TRAIN, VALIDATION, Split, split
from msr_local.store.rows import Log

NAN = float("nan")


def log(users: Sequence[int], times: Sequence[float]) -> Log:
    """A log of one item; `users` are in order, as the store has them."""
    ids = [f"u{n}" for n in range(max(users, default=-1) + 1)]
    return Log(["i"], ids, np.array(users, np.int32), np.zeros(len(users), np.int32), np.array(times, float))


@st.composite
def logs(draw: st.DrawFn, times: st.SearchStrategy[float]) -> Log:
    sizes = draw(st.lists(st.integers(1, 12), max_size=8))
    users = [user for user, size in enumerate(sizes) for _ in range(size)]
    return log(users, [one for size in sizes for one in sorted(draw(st.lists(times, min_size=size, max_size=size)))])


def seconds(moment: str | None) -> float:
    assert moment is not None
    return datetime.fromisoformat(moment).timestamp()


def test_with_times_four_fifths_are_for_training_and_a_tenth_each_for_the_rest() -> None:
    cut, part = split(log([n % 5 for n in range(100)], list(range(100))))
    assert cut.kind == "time"
    assert [int((part == one).sum()) for one in (TRAIN, VALIDATION, TEST)] == [80, 10, 10]
    assert (cut.validation_from, cut.test_from) == ("1970-01-01T00:01:20+00:00", "1970-01-01T00:01:30+00:00")


def test_other_fractions_move_the_cut() -> None:
    _, part = split(log([0] * 100, list(range(100))), fractions=(0.5, 0.6))
    assert [int((part == one).sum()) for one in (TRAIN, VALIDATION, TEST)] == [50, 10, 40]


@given(logs(st.integers(0, 30).map(float)))
def test_with_times_the_parts_follow_each_other_and_equal_times_stay_together(made: Log) -> None:
    cut, part = split(made)
    if cut.kind == "order":
        return
    start, test = seconds(cut.validation_from), seconds(cut.test_from)
    assert [*part] == [TRAIN if t < start else VALIDATION if t < test else TEST for t in made.times]
    assert {*part} == {TRAIN, VALIDATION, TEST}


@given(logs(st.floats(0, 4e9, allow_nan=False).map(lambda t: round(t, 6))))
def test_the_moments_as_text_cut_where_the_numbers_did(made: Log) -> None:
    cut, part = split(made)
    if cut.kind == "time":
        assert [*(part >= VALIDATION)] == [*(made.times >= seconds(cut.validation_from))]
        assert [*(part == TEST)] == [*(made.times >= seconds(cut.test_from))]


@given(logs(st.just(NAN)))
def test_without_times_the_last_of_each_user_is_for_the_test_and_the_one_before_for_validation(made: Log) -> None:
    cut, part = split(made)
    assert cut.to_json() == {"kind": "order", "validation_from": None, "test_from": None}
    for user in range(len(made.user_ids)):
        mine = [*part[made.users == user]]
        assert mine == ([TRAIN] * len(mine) if len(mine) < 3 else [*[TRAIN] * (len(mine) - 2), VALIDATION, TEST])


@pytest.mark.parametrize(
    "times",
    [
        [*[NAN] * 6, *range(4)],  # most without a time: the moments of the others would say little of them
        [5.0] * 10,  # all at once
        [0.0] * 5 + [9.0] * 5,  # half at the last moment: nothing is left between the two cuts
    ],
)
def test_times_that_cannot_be_cut_leave_the_order(times: list[float]) -> None:
    cut, part = split(log([0] * 10, times))
    assert cut.kind == "order"
    assert [*part] == [TRAIN] * 8 + [VALIDATION, TEST]


def test_what_has_no_time_came_before_all_that_has() -> None:
    cut, part = split(log([0] * 11, [NAN, *map(float, range(10))]))
    assert cut.kind == "time" and part[0] == TRAIN
    assert cut.parts(log([0] * 11, [NAN, *map(float, range(10))])).tolist() == part.tolist()


def test_many_at_the_moment_of_the_cut_are_all_on_its_later_side() -> None:
    times = [float(n) for n in range(40)] + [40.0] * 13 + [41.0 + n for n in range(7)]
    cut, part = split(log([0] * 60, times))
    assert seconds(cut.validation_from) == 40
    assert {*part[40:53]} == {VALIDATION}
    assert TRAIN not in part[40:]


def test_an_empty_log_has_an_empty_split() -> None:
    cut, part = split(log([], []))
    assert (cut.kind, len(part)) == ("order", 0)


def test_one_interaction_is_for_training() -> None:
    assert [*split(log([0], [7.0]))[1]] == [TRAIN]


# ---- users


def test_a_fifth_of_the_users_is_held_back_whoever_else_there_is() -> None:
    few, many = log([n // 2 for n in range(400)], [NAN] * 400), log([n // 2 for n in range(2000)], [NAN] * 2000)
    (cut, part), (_, more) = split(few, "users"), split(many, "users")
    assert cut == Split("users") and part.tolist() == more[:400].tolist()
    assert (part[::2] == part[1::2]).all()  # both interactions of a user are in one part
    for which, share in ((TRAIN, 0.8), (VALIDATION, 0.1), (TEST, 0.1)):
        assert abs(float((more == which).mean()) - share) < 0.04


@pytest.mark.parametrize("kind", ["time", "order", "users"])
def test_a_split_from_json_cuts_where_it_did(kind: str) -> None:
    made = log([n // 5 for n in range(100)], list(range(100)))
    cut, part = split(made, kind)
    assert Split.from_json(cut.to_json()) == cut
    assert Split.from_json(cut.to_json()).parts(made).tolist() == part.tolist()


def test_no_times_no_split_by_time() -> None:
    for times in ([NAN] * 4, [1.0] * 4):
        with pytest.raises(ValueError, match="no timestamps, or too few"):
            split(log([0, 0, 1, 1], times), "time")
    with pytest.raises(ValueError, match="none of time, order, users"):
        split(log([0], [1.0]), "week")
