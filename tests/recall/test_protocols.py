"""Who is asked about what, with which negatives, and that nothing fitted sees what is asked about."""

from __future__ import annotations

import random as random_module
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_local.errors import InputError
from msr_local.recall.candidates import Recall
from msr_local.recall.protocols import Case, Plan, core, listed, plan, sampled
from msr_local.store.rows import Log


def log(histories: list[list[int]], times: list[list[float]] | None = None) -> Log:
    """Users with these items, in time order."""
    items = sorted({item for one in histories for item in one})
    users = [user for user, one in enumerate(histories) for _ in one]
    flat = [item for one in histories for item in one]
    when = [t for one in times for t in one] if times else [float("nan")] * len(flat)
    ids = [f"i{n}" for n in range(max(items, default=-1) + 1)]
    return Log(ids, [f"u{n}" for n in range(len(histories))], np.array(users, np.int32), np.array(flat, np.int32),
               np.array(when, float))  # fmt: skip


@st.composite
def logs(draw: st.DrawFn, timed: bool = False) -> Log:
    """Up to 40 users with up to 12 of 15 items; repeats happen."""
    histories = draw(st.lists(st.lists(st.integers(0, 14), max_size=12), min_size=1, max_size=40))
    times = [sorted(draw(st.lists(st.integers(0, 50).map(float), min_size=len(one), max_size=len(one)))) for one in
             histories] if timed else None  # fmt: skip
    return log(histories, times)


def planned(made: Log, protocol: str, kind: str | None) -> Plan | None:
    try:
        return plan(made, protocol, kind)
    except InputError:
        return None


def histories_of(made: Log) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for user, item in zip(made.users.tolist(), made.items.tolist(), strict=True):
        found.setdefault(user, []).append(item)
    return found


@given(logs())
def test_last_asks_about_the_last_item_after_all_the_others(made: Log) -> None:
    found = planned(made, "last", "order")
    for case in found.test if found else []:
        everything = histories_of(made)[case.user]
        assert [*case.history, case.target] == everything
        assert case.target not in case.history


@given(logs(timed=True))
def test_nothing_known_is_asked_about_and_nothing_asked_about_is_known(made: Log) -> None:
    for protocol, kind in (("last", "order"), ("last", "users"), ("popular6", "users"), ("temporal", "time")):
        found = planned(made, protocol, kind)
        if found is None:
            continue
        assert not any(found.known[case.row] for case in (*found.validation, *found.test))
        assert not any(found.known_at_test[case.row] for case in found.test)
        assert (found.known_at_test | ~found.known).all()
        if kind == "users":  # not even the histories of those who are asked
            asked = {case.user for case in (*found.validation, *found.test)}
            assert not asked & set(made.users[found.known].tolist())
        if kind == "time":
            first = min((made.times[case.row] for case in found.test), default=0.0)
            assert (made.times[found.known_at_test] < first).all()
            for case in found.test:
                seen = (made.users == case.user) & (made.times < first)
                assert set(case.history.tolist()) <= set(made.items[seen].tolist())


def test_popular6_is_the_protocol_of_the_released_code() -> None:
    # Items 0..5 are the most popular ones of everybody; user 1 takes them among others.
    many = [[0, 1, 2, 3, 4, 5]] * 50
    made = log([*many, *[[9, 5, 8, 4, 3, 7, 2, 1, 0, 6]] * 50])
    found = plan(made, "popular6")
    assert found.split.kind == "users"
    long = [case for case in found.test if case.user >= 50]
    assert long and all([*case.history, case.target] == [5, 4, 3, 2, 1, 0] for case in long)
    assert all({6, 7, 8, 9} <= case.taken for case in long)  # what was left out is no negative either


@given(logs())
def test_popular6_asks_about_six_items_however_often_they_were_taken(made: Log) -> None:
    found = planned(made, "popular6", "users")
    for case in found.test if found else []:
        assert len({*case.history.tolist(), case.target}) == 6
    again = log([[0, 0, 0, 1, 1, 2, 3, 4, 5, 0]] * 50)
    assert [*map(int, plan(again, "popular6").test[0].history)] == [0, 1, 2, 3, 4]


@given(logs(), st.integers(0, 3))
def test_of_cold_items_nothing_is_known_and_pairs_share_a_history(made: Log, seed: int) -> None:
    try:
        found = plan(made, "cold-items", seed=seed)
    except InputError:
        return
    cold = found.cold
    assert cold is not None and len(found.test) == 2 * found.users
    assert not cold[made.items[found.known]].any() and not cold[made.items[found.known_at_test]].any()
    assert (found.known_at_test | ~found.known).all()
    for one, other in zip(found.test[: found.users], found.test[found.users :], strict=True):
        assert one.user == other.user and one.history.tolist() == other.history.tolist() and len(one.history)
        assert cold[one.target] and not cold[other.target] and not cold[one.history].any()
        assert other.target not in one.history
        cut = min(one.row, other.row)
        mine = np.flatnonzero(made.users == one.user)
        assert made.items[[row for row in mine if row < cut and not cold[made.items[row]]]].tolist() == [*one.history]
        assert not found.known_at_test[mine[mine >= cut]].any()
        for case in (one, other):
            assert case.row == next(row for row in mine if made.items[row] == case.target)  # taken for the first time
    for case in found.validation:
        assert not cold[[case.target, *case.history, *case.taken]].any() and not found.known[case.row]


@given(logs(), st.randoms())
def test_which_cold_item_somebody_took_changes_nothing_that_is_fitted(made: Log, random: random_module.Random) -> None:
    try:
        found = plan(made, "cold-items")
    except InputError:
        return
    cold = np.flatnonzero(found.cold)
    swapped = np.arange(len(made.item_ids), dtype=np.int32)
    swapped[cold] = random.sample(cold.tolist(), len(cold))
    other = plan(Log(made.item_ids, made.user_ids, made.users, swapped[made.items], made.times), "cold-items")
    assert other.known.tolist() == found.known.tolist()
    assert other.known_at_test.tolist() == found.known_at_test.tolist()
    assert [(one.row, one.taken) for one in other.validation] == [(one.row, one.taken) for one in found.validation]
    assert [(one.row, swapped[one.target]) for one in found.test] == [(one.row, one.target) for one in other.test]


def test_which_items_are_cold_depends_on_their_ids_and_the_seed() -> None:
    made = log([[n % 60, (n + 7) % 60, (n + 19) % 60, (n + 31) % 60] for n in range(120)])
    one, again, other = (plan(made, "cold-items", users=users, seed=seed) for users, seed in ((5, 0), (9, 0), (5, 1)))
    assert one.cold is not None and again.cold is not None and other.cold is not None
    assert one.cold.tolist() == again.cold.tolist() != other.cold.tolist() and 1 <= one.cold.sum() <= 15
    assert one.users == 5 and {case.user for case in one.test} < {case.user for case in again.test}
    assert one.by_user(np.arange(10.0)).tolist() == [2.5, 3.5, 4.5, 5.5, 6.5]
    assert one.by_user(np.arange(10.0), "warm").tolist() == [5, 6, 7, 8, 9]


def test_users_are_held_back_by_their_ids_alone() -> None:
    before, after = log([[0, 1]] * 300), log([[0, 1]] * 400)
    users = [{case.user for case in plan(one, "last", "users").test} for one in (before, after)]
    assert 15 <= len(users[0]) <= 50 and users[0] == {user for user in users[1] if user < 300}


def test_few_users_are_all_asked_and_many_are_split() -> None:
    assert plan(log([[0, 1, 2]] * 50), "last").split.kind == "order"
    assert plan(log([[0, 1, 2]] * 1500), "last").split.kind == "users"


def test_a_sample_of_users_depends_on_the_seed_alone() -> None:
    made = log([[0, 1, 2]] * 60)
    one, again, other = (plan(made, users=10, seed=seed) for seed in (1, 1, 2))
    assert [case.user for case in one.test] == [case.user for case in again.test]
    assert [case.user for case in one.test] != [case.user for case in other.test] and len(one.test) == 10


@pytest.mark.parametrize(("protocol", "kind"), [("popular6", "order"), ("temporal", "users"), ("last", "time")])
def test_a_protocol_holds_back_in_its_own_way_only(protocol: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"--protocol {protocol} cannot use --split {kind}. Next: --split"):
        plan(log([[0, 1, 2]] * 20), protocol, kind)


def test_what_cannot_be_asked_says_why() -> None:
    with pytest.raises(
        InputError, match=r"temporal splits by time, but there are no timestamps.*Next: --protocol last"
    ):
        plan(log([[0, 1, 2]] * 20), "temporal")
    with pytest.raises(InputError, match=r"last, there are no test users among 2 users\. Next:"):
        plan(log([[0], [1]]), "last", "order")


@given(logs(), st.integers(1, 4), st.integers(1, 4))
def test_the_core_is_the_largest_part_where_all_have_enough(made: Log, user: int, item: int) -> None:
    kept = core(made, (user, item))
    assert all(count >= user for count in Counter(kept.users.tolist()).values())
    assert all(count >= item for count in Counter(kept.items.tolist()).values())
    if user <= min(Counter(made.users.tolist()).values(), default=0):
        assert item > 1 or len(kept.users) == len(made.users)


@settings(max_examples=30)
@given(logs(), st.sampled_from(["uniform", "popularity", "hard"]), st.integers(1, 20))
def test_negatives_are_different_items_that_the_user_never_took(made: Log, kind: str, count: int) -> None:
    found = planned(made, "last", "order")
    if found is None:
        return
    recall = Recall(made.item_ids, made.users[found.known], made.items[found.known], [""] * len(made.item_ids))
    for case, candidates in zip(found.test, sampled(made, found.test, recall, kind, count, 0), strict=True):
        assert candidates[0] == case.target
        negatives = candidates[1:].tolist()
        assert len(set(negatives)) == len(negatives) and not set(negatives) & case.taken
        if kind != "hard":  # all that there are, up to the number asked for
            assert len(negatives) == min(count, len(set(made.items.tolist()) - case.taken))


def test_negatives_do_not_depend_on_who_else_is_asked() -> None:
    made = log([[n % 7, (n + 1) % 7, n % 5 + 7, n % 3 + 12] for n in range(40)])
    found = plan(made, "last", "order")
    recall = Recall(made.item_ids, made.users, made.items, [""] * len(made.item_ids))
    some: list[Case] = found.test[3:6]
    for kind in ("uniform", "popularity", "hard"):
        whole = sampled(made, found.test, recall, kind, 5, 0)[3:6]
        assert [one.tolist() for one in sampled(made, some, recall, kind, 5, 0)] == [one.tolist() for one in whole]


def test_popularity_negatives_are_popular() -> None:
    made = log([*[[0, 1, 2]] * 60, [3, 4], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [13, 14, 3]])
    found = plan(made, "last", "order")
    recall = Recall(made.item_ids, made.users, made.items, [""] * len(made.item_ids))
    cases = [case for case in found.test if not case.taken & {0, 1, 2}]
    drawn = Counter(item for one in sampled(made, cases, recall, "popularity", 2, 0) for item in one[1:].tolist())
    assert sum(drawn[item] for item in (0, 1, 2)) / drawn.total() > 0.5


@given(logs(), st.integers(1, 8))
@settings(max_examples=60)
def test_lists_hold_the_target_first_and_nothing_the_user_took(made: Log, count: int) -> None:
    asked = planned(made, "last", "order")
    if asked is None:
        return
    recall = Recall(made.item_ids, made.users[asked.known], made.items[asked.known], [""] * len(made.item_ids))
    for case, items, chance in zip(asked.test, *listed(made, asked.test, recall, count, 0), strict=True):
        assert items[0] == case.target and len(items) == len(chance) <= count + 1
        assert len(set(items.tolist())) == len(items) and not set(items[1:].tolist()) & case.taken
        assert (chance <= 0).all() and np.isfinite(chance).all()


def test_the_offsets_of_lists_are_how_often_an_item_is_drawn() -> None:
    everybody = [[*range(n % 12 + 1), 20 + n] for n in range(3000)]
    made = log(everybody)
    recall = Recall(made.item_ids, made.users, made.items, [""] * len(made.item_ids))
    cases = [Case(user, np.array([2999 + 20], np.int32), 2998 + 20, 0, frozenset()) for user in range(3000)]
    drawn, offsets = listed(made, cases, recall, 60, 0)
    often = Counter(int(item) for items in drawn for item in items[1:])
    chance = {
        int(item): one
        for items, some in zip(drawn, offsets, strict=True)
        for item, one in zip(items, some, strict=True)
    }
    for item in range(12):  # the popular ones
        assert often[item] / 3000 == pytest.approx(np.exp(chance[item]), abs=0.03)
    rare = [item for item in chance if 100 < item < 2900]
    assert sum(often[item] for item in rare) / 3000 == pytest.approx(
        sum(np.exp(chance[item]) for item in rare), rel=0.1
    )
