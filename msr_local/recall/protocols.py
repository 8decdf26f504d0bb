"""The questions of an evaluation, and which interactions may be used to answer them.

`last`: what did a user take last, after all that came before? `popular6`: the protocol of the paper's released code:
of each user's items the six that are most popular over all, in time order; the last of them is asked for after the
other five. It makes popularity a strong hint; it exists for comparison with published numbers. `temporal`: what did a
user take first after one moment, the same for all? `cold-items`: a tenth of the items are as new: nothing that is
fitted sees an interaction of theirs. Each user is asked for one of them, and for another item after the same history.

Users or interactions are held back as `splits` says. What is fitted (recall, EASE, SASRec, weights of a blend, an
adapter) uses training interactions only; questions of the test may also use what was before them in time.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from ..arrays import Indices, Items, Mask, Vector
from ..errors import InputError
from ..store.rows import Log
from .candidates import Recall
from .splits import TEST, TRAIN, VALIDATION, Split, split

COLD = "cold-items"
KINDS_OF = {  # how each may hold back
    "last": ("users", "order"), "popular6": ("users",), "temporal": ("time",), COLD: ("order",),
}  # fmt: skip
_COLD = 0.1  # share of the items
CORE = (7, 5)  # interactions of a user and of an item that the paper's released code asks for
_POPULAR = 6
_ENOUGH_USERS = 1000  # of which a tenth is enough for a test
_HARD = 100  # recalled items among which hard negatives are drawn
_SMOOTH = 3.0  # added to each item's interactions when lists are drawn


@dataclass(frozen=True, slots=True)
class Case:
    """A question of the evaluation: what `user` took after `history`. All are indices into the log's ids."""

    user: int
    history: Items  # oldest first
    target: int
    row: int  # of the target in the log
    taken: frozenset[int]  # what the user took, before and after: never negatives


@dataclass(frozen=True, slots=True)
class Plan:
    """The questions, and which interactions may be used: masks of shape [N].

    Validation may use `known`; the test, `known_at_test` (the same where users are held back). Where items are `cold`
    (mask of shape [I]), the first half of the test asks for these, the second half the same users for other items.
    """

    protocol: str
    split: Split
    log: Log
    known: Mask
    known_at_test: Mask
    validation: list[Case]
    test: list[Case]
    cold: Mask | None = None

    @property
    def users(self) -> int:
        """How many are asked in the test."""
        return len(self.test) // (1 if self.cold is None else 2)

    def by_user(self, values: Vector, part: str = "") -> Vector:
        """The numbers of the test's cases as one a user: of their `part` "cold" or "warm", else the mean of both."""
        if self.cold is None:
            return values
        pairs = values.reshape(2, -1)
        return np.asarray(pairs[("cold", "warm").index(part)] if part else pairs.mean(axis=0))


def core(log: Log, least: tuple[int, int]) -> Log:
    """The log without users and items of fewer interactions than `least` (users, items), repeated until none is left.

    Users keep their ids and indices; items theirs. Only interactions go.
    """
    keep = np.ones(len(log.users), bool)
    while keep.any():
        per_user, per_item = (np.bincount(one[keep], minlength=len(ids)) for one, ids in
                              ((log.users, log.user_ids), (log.items, log.item_ids)))  # fmt: skip
        good = keep & (per_user[log.users] >= least[0]) & (per_item[log.items] >= least[1])
        if (good == keep).all():
            break
        keep = good
    return Log(log.item_ids, log.user_ids, log.users[keep], log.items[keep], log.times[keep])


def plan(log: Log, protocol: str = "last", kind: str | None = None, *, users: int | None = None, seed: int = 0) -> Plan:
    """The plan of a protocol. `kind` is how to hold back; None: as fits the protocol and the number of users.

    The test has at most `users` users, drawn by `seed`. Raises `InputError` if there are none.
    """
    kinds = KINDS_OF[protocol]
    if kind is None:
        kind = "order" if protocol == "last" and _active(log) < _ENOUGH_USERS else kinds[0]
    if kind not in kinds:
        raise InputError(f"--protocol {protocol} cannot use --split {kind}. Next: --split {' or '.join(kinds)}.")
    if protocol == COLD:
        return _cold_plan(log, users, seed)
    try:
        cut, part = split(log, kind)
    except ValueError as error:
        raise InputError(f"--protocol {protocol} splits by time, but {error}. Next: --protocol last.") from None
    known = part == TRAIN
    known_at_test = known if kind == "users" else part != TEST
    asked = {}
    for which, most in ((VALIDATION, None), (TEST, users)):
        cases = _cases(log, protocol, part, which)
        random.Random(f"users {seed} {which}").shuffle(cases)
        asked[which] = cases[:most]
    if not asked[TEST]:
        raise _nobody(log, protocol)
    return Plan(protocol, cut, log, known, known_at_test, asked[VALIDATION], asked[TEST])


def _nobody(log: Log, protocol: str) -> InputError:
    return InputError(
        f"with --protocol {protocol}, there are no test users among {_active(log):,} users. "
        "Next: another --protocol, a smaller --core, or more interactions."
    )


def _cold_plan(log: Log, users: int | None, seed: int) -> Plan:
    """Each user's last cold item, and the warm one next to it, after the warm items before both.

    The user's later interactions are known to nobody: they would say what followed this very history. Validation asks
    for the last warm item that is left.
    """
    cold = as_new(log, f"cold {seed}")
    known_at_test = ~cold[log.items]
    known, validation, test = known_at_test.copy(), [], []
    for rows in _by_user(log):
        warm, taken = rows[~cold[log.items[rows]]], frozenset(log.items[rows].tolist())
        if pair := _cold_and_warm(log.items, rows, cold):
            warm = warm[warm < min(pair)]
            history = log.items[warm]
            test.append([Case(int(log.users[row]), history, int(log.items[row]), row, taken) for row in pair])
            known_at_test[rows[rows >= min(pair)]] = False
            known[rows[rows >= min(pair)]] = False
        if len(warm) > 1:
            *before, last = warm.tolist()
            known[last] = False
            history, target = log.items[before], int(log.items[last])
            if target not in history:  # to spare cold items as negatives would reveal the test's answers
                seen = frozenset(log.items[warm].tolist())
                validation.append(Case(int(log.users[last]), history, target, last, seen))
    for name, some in ((VALIDATION, validation), (TEST, test)):
        random.Random(f"users {seed} {name}").shuffle(some)
    if not test:
        raise _nobody(log, COLD)
    halves = [case for case, _ in test[:users]], [case for _, case in test[:users]]
    return Plan(COLD, Split("order"), log, known, known_at_test, validation, [*halves[0], *halves[1]], cold)


def as_new(log: Log, seed: str) -> Mask:
    """A tenth of the items that somebody took, [I]; whether an item is one of them depends on nothing but its id."""
    lots = (hashlib.sha256(f"{seed} {item_id}".encode("utf-8", "surrogatepass")) for item_id in log.item_ids)
    chosen = np.array([int.from_bytes(lot.digest()[:6], "big") / 2.0**48 < _COLD for lot in lots], bool)
    return np.asarray(chosen & (np.bincount(log.items, minlength=len(log.item_ids)) > 0))


def _cold_and_warm(items: Items, rows: Indices, cold: Mask) -> tuple[int, int] | None:
    """A user's rows of the last cold item, and of the warm one after it or else before it; None without a history.

    Neither item was taken before, and warm items were taken before both.
    """
    _, firsts = np.unique(items[rows], return_index=True)
    new = rows[np.sort(firsts)]
    is_cold = cold[items[new]]
    for row in new[is_cold][::-1].tolist():
        warm = new[~is_cold]
        before, after = warm[warm < row], warm[warm > row]
        if len(after) and len(before):
            return row, int(after[0])
        if len(before) > 1:
            return row, int(before[-1])
    return None


def _by_user(log: Log) -> Iterator[npt.NDArray[np.int_]]:
    """The rows of each user, in the order of the log."""
    bounds = np.flatnonzero(np.r_[True, log.users[1:] != log.users[:-1], True][: len(log.users) + 1])
    for start, end in pairwise(bounds if len(log.users) else []):
        yield np.arange(start, end)


def _active(log: Log) -> int:
    return len(np.unique(log.users))


def _cases(log: Log, protocol: str, part: npt.NDArray[np.int8], which: int) -> list[Case]:
    """One case a user, in the order of the log."""
    popular = np.bincount(log.items, minlength=len(log.item_ids))
    found = []
    for everything in _by_user(log):
        rows = everything
        if protocol == "popular6":
            _, firsts = np.unique(log.items[rows], return_index=True)  # six items, also where some were taken again
            rows = rows[np.sort(firsts)]
            rows = _most_popular(rows, popular[log.items[rows]])
        asked = np.flatnonzero(part[rows] == which)
        if not len(asked):
            continue
        end_of_history = asked[0] if protocol == "temporal" else asked[-1]
        history = log.items[rows[:end_of_history]]
        # What was taken before is never recommended, so there are no questions about it.
        new = next((row for row in rows[asked[asked >= end_of_history]] if log.items[row] not in history), None)
        if new is not None and len(history):
            # Validation may draw test items as negatives: to spare them would reveal the test's answers.
            mine = everything if which == TEST else everything[part[everything] != TEST]
            taken = frozenset(log.items[mine].tolist())
            found.append(Case(int(log.users[everything[0]]), history, int(log.items[new]), int(new), taken))
    return found


def _most_popular(rows: npt.NDArray[np.int_], popularity: npt.NDArray[np.int_]) -> npt.NDArray[np.int_]:
    """The six rows of the most popular items, in time order; none of a user who has fewer."""
    if len(rows) < _POPULAR:
        return rows[:0]
    return rows[np.sort(np.argsort(-popularity, kind="stable")[:_POPULAR])]


def sampled(log: Log, cases: Sequence[Case], recall: Recall, kind: str, count: int, seed: int) -> list[Items]:
    """The candidates of each case: its target first, then `count` negatives (fewer in a tiny catalogue).

    `uniform` over the items of the log; `popularity` in proportion to the interactions that recall knows; `hard` among
    the items that recall would offer. A user's negatives do not depend on the other users.
    """
    found = []
    catalogue = np.unique(log.items)
    weights = np.cumsum(recall.count[catalogue] + 1e-9)
    for case in cases:
        rng = random.Random(f"negatives {seed} {kind} {log.user_ids[case.user]}")
        taken = case.taken
        if kind == "hard":
            ids = [recall.item_ids[i] for i in case.history]
            out = {recall.item_ids[i] for i in taken}
            free = [recall.index[one.item_id] for one in recall.candidates(ids, _HARD, exclude=out)]
            drawn = rng.sample(free, min(count, len(free)))
        else:
            by = weights if kind == "popularity" else None
            drawn = _draw(catalogue, by, taken, count, rng)
        found.append(np.array([case.target, *drawn], np.int32))
    return found


def listed(log: Log, cases: Sequence[Case], recall: Recall, count: int, seed: int) -> tuple[list[Items], list[Vector]]:
    """Lists from which to learn how to rank the whole catalogue, each with its target first.

    The others are about `count`, popular ones more often; neither what the history holds nor what else the user took is
    among them. The second list has each candidate's log-probability to be drawn.
    """
    weights = recall.count + _SMOOTH
    chance = np.zeros(len(weights))
    if count < len(weights):
        # Each item arrives after an exponential time of its weight; by this time, `count` have arrived on average.
        end = brentq(lambda time: -np.expm1(-weights * time).sum() - count, 0.0, 1e9)
        chance = np.log(-np.expm1(-weights * end))
    found, offsets = [], []
    for case in cases:
        rng = np.random.default_rng(random.Random(f"lists {seed} {log.user_ids[case.user]}").getrandbits(64))
        arrival = rng.exponential(size=len(weights)) / weights
        drawn = np.argpartition(arrival, count)[:count] if count < len(weights) else np.arange(len(weights))
        drawn = drawn[np.argsort(arrival[drawn])]
        out = {*case.taken, *case.history.tolist(), case.target}
        items = np.array([case.target, *(int(item) for item in drawn if int(item) not in out)], np.int32)
        found.append(items)
        offsets.append(chance[items])
    return found, offsets


def _draw(catalogue: Items, weights: Vector | None, taken: frozenset[int], count: int, rng: random.Random) -> list[int]:
    """`count` different items that are not `taken`."""
    drawn: dict[int, None] = {}
    for _ in range(50 * count):
        place = rng.randrange(len(catalogue)) if weights is None else int(
            np.searchsorted(weights, rng.random() * weights[-1], side="right")
        )  # fmt: skip
        item = int(catalogue[min(place, len(catalogue) - 1)])
        if item not in taken:
            drawn.setdefault(item)
            if len(drawn) == count:
                return list(drawn)
    free = [int(item) for item in catalogue if item not in taken and item not in drawn]
    return [*drawn, *rng.sample(free, min(count - len(drawn), len(free)))]
