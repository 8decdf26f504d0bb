"""Where training asks, what it may know there, and which items it offers as a no."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.recall.candidates import Recall
from msr_local.recall.splits import Split
from msr_local.store.rows import Log
from msr_local.training.points import Point, negatives, points, slices

TIME, ORDER = Split("time", "1970-01-01T00:01:00+00:00", "1970-01-01T00:02:00+00:00"), Split("order")
Mask = npt.NDArray[np.bool_]


def log(*histories: Sequence[int], times: Sequence[Sequence[float]] = (), items: int = 30) -> Log:
    """A log of users u0, u1, ... who took items by number; without `times` there are none."""
    users = [user for user, history in enumerate(histories) for _ in history]
    when = [t for history in times for t in history] or [float("nan")] * len(users)
    return Log(
        [f"i{n}" for n in range(items)], [f"u{n}" for n in range(len(histories))], np.array(users, np.int32),
        np.array([item for history in histories for item in history], np.int32), np.array(when, float),
    )  # fmt: skip


@st.composite
def logs(draw: st.DrawFn) -> Log:
    histories = draw(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=40), max_size=12))
    times = [sorted(draw(st.lists(st.integers(0, 50), min_size=len(h), max_size=len(h)))) for h in histories]
    return log(*histories, times=times)


def everywhere(made: Log) -> Mask:
    return np.ones(len(made.users), bool)


# ---- points


@given(logs(), st.data())
def test_a_point_is_an_eligible_first_time_with_enough_before_it(made: Log, data: st.DataObject) -> None:
    n = len(made.users)
    eligible = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    first, count = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 60))
    chosen = points(made, eligible, count, first, 0)
    assert len(chosen) <= count
    assert len({point.row for point in chosen}) == len(chosen)
    for point in chosen:
        start = int(np.flatnonzero(made.users == point.user)[0])
        assert point.row == start + point.at
        assert made.users[point.row] == point.user
        assert eligible[point.row]
        assert point.at >= first
        assert made.items[point.row] not in made.items[start : point.row]


@given(logs(), st.integers(1, 60))
def test_fewer_points_are_the_first_of_more(made: Log, count: int) -> None:
    more = points(made, everywhere(made), 1000, 3, 0)
    assert points(made, everywhere(made), count, 3, 0) == more[:count]


def test_every_user_has_a_turn_before_anyone_has_two() -> None:
    made = log(*([*range(30)] for _ in range(8)))
    chosen = points(made, everywhere(made), 48, 3, 1)
    assert [len({p.user for p in chosen[k : k + 6]}) for k in range(0, 48, 6)] == [1] * 8
    assert Counter(point.user for point in chosen) == dict.fromkeys(range(8), 6)


def test_the_questions_of_a_turn_are_near_each_other_in_order_of_time() -> None:
    made = log([*range(30)], [*range(30)])
    chosen = points(made, everywhere(made), 24, 3, 2)
    for k in range(0, 24, 6):
        ats = [point.at for point in chosen[k : k + 6]]
        assert ats == sorted(ats)
        assert ats[-1] - ats[0] < 15


def test_a_point_does_not_depend_on_what_is_not_eligible() -> None:
    """The draw must not change with interactions after the cut, nor with people who only came then."""
    short = log([*range(12)], [*range(3, 15)])
    longer = log([*range(12), 20, 21, 22], [*range(3, 15), 25], [*range(9)])
    before = np.array([True] * 12 + [False] * 3 + [True] * 12 + [False] + [False] * 9)
    picked = [[(p.user, p.at) for p in points(*args, 10, 3, 0)] for args in (
        (short, everywhere(short)), (longer, before),
    )]  # fmt: skip
    assert picked[0] == picked[1]


def test_a_seed_draws_the_same_points_and_another_one_others() -> None:
    made = log(*([*range(30)] for _ in range(6)))
    draw = [points(made, everywhere(made), 20, 3, seed) for seed in (0, 0, 1)]
    assert draw[0] == draw[1] != draw[2]


def test_an_item_taken_again_is_asked_about_once() -> None:
    made = log([0, 1, 2, 3, 3, 4, 0, 4, 5])
    assert sorted(point.at for point in points(made, everywhere(made), 100, 3, 0)) == [3, 5, 8]


def test_an_item_first_taken_before_the_eligible_part_is_not_asked_about() -> None:
    made = log([0, 1, 2, 3, 0, 5])
    eligible = np.array([False] * 4 + [True] * 2)
    assert [point.at for point in points(made, eligible, 100, 3, 0)] == [5]


def test_an_empty_log_and_short_histories_have_no_points() -> None:
    assert points(log(), np.zeros(0, bool), 10, 3, 0) == []
    made = log([0, 1, 2], [3])
    assert points(made, everywhere(made), 10, 3, 0) == []


# ---- what is known at a point


def groups(made: Log, known: Mask, chosen: list[Point], split: Split) -> list[tuple[Mask, list[Point]]]:
    return list(slices(made, known, chosen, split, training=True))


@given(logs(), st.data(), st.sampled_from([TIME, ORDER]))
def test_evidence_for_training_never_comes_from_a_target_or_after_it(
    made: Log, data: st.DataObject, split: Split
) -> None:
    n = len(made.users)
    known = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    chosen = points(made, known, 30, 1, data.draw(st.integers(0, 3)))
    found = groups(made, known, chosen, split)
    assert sorted(p.row for _, group in found for p in group) == sorted(p.row for p in chosen)
    for before, group in found:
        assert not (before & ~known).any()
        for point in group:
            if split.kind == "time":
                assert not (before & (made.times >= made.times[point.row])).any()
            else:
                assert not (before & (made.users == point.user)).any()


@given(logs(), st.data(), st.sampled_from([TIME, ORDER]))
def test_evidence_for_validation_is_all_that_training_may_see_and_no_more(
    made: Log, data: st.DataObject, split: Split
) -> None:
    n = len(made.users)
    known = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    chosen = points(made, ~known, 30, 0, 0)
    ((before, group),) = slices(made, known, chosen, split, training=False)
    assert (before == known).all()
    assert group == chosen


def test_an_interaction_at_the_very_moment_of_a_target_is_not_known() -> None:
    made = log([0, 1, 2, 3], [4, 5, 6], times=[[1, 2, 3, 9], [8, 9, 10]])
    ((before, _),) = groups(made, everywhere(made), [Point(0, 3, 3)], TIME)
    assert [*made.times[before]] == [1, 2, 3, 8]


def test_later_targets_know_more() -> None:
    made = log(*([*range(30)] for _ in range(4)), times=[[10.0 * n + user for n in range(30)] for user in range(4)])
    found = groups(made, everywhere(made), points(made, everywhere(made), 80, 3, 0), TIME)
    assert len(found) == 8
    assert all(
        first.sum() < second.sum() and not (first & ~second).any() for (first, _), (second, _) in pairwise(found)
    )
    sizes = [len(group) for _, group in found]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_points_make_few_groups(count: int) -> None:
    made = log([*range(20)], times=[[*range(20)]])
    chosen = points(made, everywhere(made), count, 3, 0)
    assert [len(group) for _, group in groups(made, everywhere(made), chosen, TIME)] == [1] * count


def test_an_order_alone_keeps_most_other_people_as_evidence() -> None:
    made = log(*([*range(10)] for _ in range(16)))
    chosen = points(made, everywhere(made), 1000, 3, 0)
    found = groups(made, everywhere(made), chosen, ORDER)
    assert [len({p.user for p in group}) for _, group in found] == [2] * 8
    assert [int(before.sum()) for before, _ in found] == [140] * 8


def test_without_points_there_are_no_groups() -> None:
    made = log([0, 1])
    assert groups(made, everywhere(made), [], TIME) == groups(made, everywhere(made), [], ORDER) == []


# ---- negatives


def recall(*histories: Sequence[int], items: int = 30) -> Recall:
    made = log(*histories, items=items)
    return Recall(made.item_ids, made.users, made.items, [f"film {n}" for n in range(items)])


KINDS = ["uniform", "popularity", "hard"]


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), max_size=6),
    st.lists(st.integers(0, 9), max_size=9, unique=True),
    st.integers(0, 9),
    st.integers(1, 12),
    st.integers(0, 5),
)
def test_a_no_is_never_an_item_that_was_taken_and_none_comes_twice(
    kind: str, others: list[list[int]], history: list[int], target: int, count: int, seed: int
) -> None:
    seen = [f"i{n}" for n in history]
    taken = {*seen, f"i{target}"}
    drawn = negatives(kind, count, recall(*others, items=10), seen, taken, random.Random(seed))
    assert not taken & {*drawn}
    assert len({*drawn}) == len(drawn) == min(count, 10 - len(taken))


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_negatives_and_another_one_others(kind: str) -> None:
    there = recall(*([*range(n, n + 5)] for n in range(20)))
    draws = [negatives(kind, 5, there, ["i1"], {"i1"}, random.Random(seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def drawn_often(kind: str, there: Recall, taken: set[str], times: int = 6000) -> Counter[str]:
    rng = random.Random(12)
    return Counter(negatives(kind, 1, there, [], taken, rng)[0] for _ in range(times))


def chi_square(found: Counter[str], expected: dict[str, float]) -> float:
    return sum((found[one] - share) ** 2 / share for one, share in expected.items())


def test_uniform_negatives_come_from_the_whole_catalogue_alike() -> None:
    there = recall(*([0, 1] for _ in range(50)), items=12)
    found = drawn_often("uniform", there, {"i0", "i5"})
    expected = {f"i{n}": 600.0 for n in range(12) if n not in (0, 5)}
    assert set(found) == set(expected)
    assert chi_square(found, expected) < 27.9  # p = 0.001 at 9 degrees of freedom


def test_popular_items_are_negatives_as_often_as_people_took_them() -> None:
    # i0 is taken by 8 people, i1 by 4, i2 by 2, i3 by 1 (who takes it five times), i4 by nobody.
    there = recall([0, 1, 2, 3, 3, 3, 3, 3], [0, 1, 2], [0, 1], [0, 1], [0], [0], [0], [0], items=5)
    found = drawn_often("popularity", there, set())
    assert set(found) == {"i0", "i1", "i2", "i3"}
    assert chi_square(found, {f"i{n}": 6000 * 2 ** (3 - n) / 15 for n in range(4)}) < 16.3  # 3 degrees
    without = drawn_often("popularity", there, {"i0"})
    assert chi_square(without, {f"i{n}": 6000 * 2 ** (3 - n) / 7 for n in range(1, 4)}) < 13.8  # 2 degrees


def test_before_anyone_took_anything_popularity_draws_from_all() -> None:
    assert set(drawn_often("popularity", recall(items=6), {"i3"}, 300)) == {f"i{n}" for n in range(6) if n != 3}


def test_where_nearly_all_take_one_item_the_unpopular_fill_up() -> None:
    there = recall(*([0] for _ in range(2000)), items=4)
    assert set(negatives("popularity", 3, there, [], {"i0"}, random.Random(0))) == {"i1", "i2", "i3"}


def test_hard_negatives_are_what_recall_would_offer() -> None:
    there = recall(*([n, n + 1, n + 2] for n in range(148)), *([n, n + 1] for n in range(50)), items=150)
    offered = {one.item_id for one in there.candidates(["i3", "i4"], 100, exclude={"i3", "i4", "i5"})}
    rng = random.Random(0)
    drawn = {one for _ in range(300) for one in negatives("hard", 4, there, ["i3", "i4"], {"i3", "i4", "i5"}, rng)}
    assert drawn <= offered
    assert len(drawn) > 95
    uniform = {one for _ in range(300) for one in negatives("uniform", 4, there, [], set(), rng)}
    assert len(uniform - offered) > 40
