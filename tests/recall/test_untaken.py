"""Items that nobody took: the taken items that read like them, by a slow reference, and what is learned of them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_local.recall import learning, protocols, untaken
from msr_local.recall.candidates import Recall
from msr_local.recall.learned import OfUntaken
from msr_local.recall.learning import Hidden
from msr_local.recall.untaken import Untaken
from msr_local.store.rows import Log

Bags = list[set[int]]  # the words of each item
WORDS = 9


def made(bags: Bags, taken: list[bool]) -> Untaken:
    dense = np.array([[word in bag for word in range(WORDS)] for bag in bags], np.int8).reshape(len(bags), WORDS)
    return Untaken(sparse.csr_matrix(dense), sparse.csc_matrix(dense), np.array(taken, bool))


def reference(bags: Bags, taken: list[bool], item: int, nearest: int) -> dict[int, float]:
    shared = [{word for word in bag if sum(word in other for other in bags) > 1} for bag in bags]
    alike = {
        other: len(shared[item] & shared[other]) / math.sqrt(len(shared[item]) * len(shared[other]))
        for other in range(len(bags))
        if taken[other] and shared[item] & shared[other]
    }
    best = sorted(alike, key=lambda other: -round(alike[other], 12))[:nearest]  # of equals the first
    total = sum(alike[other] ** 2 for other in best)
    return {other: alike[other] ** 2 / total for other in best}


catalogues = st.lists(st.tuples(st.sets(st.integers(0, WORDS - 1)), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=80)
@given(catalogues)
def test_the_nearest_are_those_of_the_slow_reference(catalogue: list[tuple[set[int], bool]]) -> None:
    bags, taken = [bag for bag, _ in catalogue], [one for _, one in catalogue]
    found = made(bags, taken)
    assert found.items.tolist() == [item for item, one in enumerate(taken) if not one]
    near = found.nearest(found.items).toarray()
    for item, row in zip(found.items.tolist(), near, strict=True):
        wanted = reference(bags, taken, item, len(bags))
        assert {place: row[place] for place in np.flatnonzero(row)} == pytest.approx(wanted)


@settings(max_examples=40)
@given(catalogues, st.integers(1, 3))
def test_of_many_that_read_alike_the_most_alike_count(catalogue: list[tuple[set[int], bool]], nearest: int) -> None:
    bags, taken = [bag for bag, _ in catalogue], [one for _, one in catalogue]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(untaken, "_NEAREST", nearest)
        found = made(bags, taken)
        near = found.nearest(found.items).toarray()
    for item, row in zip(found.items.tolist(), near, strict=True):
        wanted = reference(bags, taken, item, nearest)
        assert {place: row[place] for place in np.flatnonzero(row)} == pytest.approx(wanted)


def test_of_a_great_many_those_are_looked_at_that_may_be_wanted() -> None:
    bags = [{0, 1}, {2, 3}, *({n % 2 * 2, n % 2 * 2 + 1} for n in range(10))]
    found = made(bags, [True, True, *[False] * 10])
    told = np.array([0.0, 1.0, *[0.0] * 10])
    assert found.likeliest(told, 5).tolist() == [3, 5, 7, 9, 11]
    assert found.likeliest(told, 10).tolist() == [*range(2, 12)]
    assert not made(bags, [True] * 12).likeliest(told, 5).size


Learnt = tuple[Log, list[str], learning.Fitted, Hidden]
THEMES, EACH = ("ships", "cats", "wars", "songs", "banks", "gods"), 12


def shop(people: int, seed: int, never: int) -> tuple[Log, list[str]]:
    """People who keep to a theme, which only the texts tell; of each theme, nobody takes the first few."""
    lot, users, items = random.Random(seed), [], []
    texts = [f"{theme} {lot.randrange(10**6)}" for theme in THEMES for _ in range(EACH)]
    for user in range(people):
        theme = user % len(THEMES) * EACH
        taken = lot.sample(range(theme + never, theme + EACH), 6)
        users += [user] * 6
        items += taken
    ids = [f"i{n}" for n in range(len(texts))]
    names = [f"u{n:04}" for n in range(people)]
    times = np.full(len(items), np.nan)
    return Log(ids, names, np.array(users, np.int32), np.array(items, np.int32), times), texts


@pytest.fixture(scope="module")
def learned() -> Learnt:
    log, texts = shop(600, seed=1, never=2)
    vectors = np.array([[theme in text for theme in THEMES] for text in texts], np.float32)
    made = learning.fitted(log, texts, vectors)
    return log, texts, made, learning.hidden_from(made, log, texts, vectors)


def natural_of(there: learning.Hidden) -> OfUntaken:
    """What was learned, without the lift: two of each theme were never taken, all hidden ones were."""
    assert there.untaken is not None
    return replace(there.untaken, start=math.log1p(2 * len(THEMES) / there.items.sum()))


def test_what_is_learned_of_hidden_items_holds_for_new_ones(learned: Learnt) -> None:
    log, texts, made, there = learned
    vectors = np.array([[theme in text for theme in THEMES] for text in texts], np.float32)
    natural = natural_of(there)
    new = np.array([theme * EACH for theme in range(len(THEMES))])
    recall = Recall.of_log(log, texts)
    recall.learned = replace(learning.completed(made, natural, log, vectors), new=new)
    for theme in range(len(THEMES)):
        history = [f"i{theme * EACH + 2 + n}" for n in range(5)]
        order = [one.item_id for one in recall.candidates(history, len(texts))]
        mine, others = order.index(f"i{new[theme]}"), [order.index(f"i{one}") for one in np.delete(new, theme)]
        assert mine < EACH < min(others)  # among those of its theme, before all that are of another
        assert order.index(f"i{new[theme] + 1}") > mine  # which nobody took for a long time


def test_new_items_are_lifted_as_far_as_costs_the_others_a_hundredth(learned: Learnt) -> None:
    """Counted again with the candidates of whole lists."""
    *_, there = learned
    natural, lifted = natural_of(there), there.untaken
    assert lifted is not None and natural.start <= lifted.start <= natural.start + 4.0
    assert all(way.untaken == lifted for way in there.ways)  # as `recommend` would rank

    def gained(start: float, *, hidden: bool) -> float:
        found = []
        for case, way in zip(there.cases, there.ways, strict=True):
            if there.items[case.target] == hidden:
                there.recall.learned = replace(way, untaken=replace(natural, start=start))
                ids = [f"i{item}" for item in case.history]
                best = [one.item_id for one in there.recall.candidates(ids, 10)]
                target = f"i{case.target}"
                found.append(1.0 / math.log2(2 + best.index(target)) if target in best else 0.0)
        return float(np.mean(found[:400]))

    before = gained(natural.start, hidden=False)
    assert gained(lifted.start, hidden=False) >= 0.99 * before - 0.003  # equals are in another order
    assert lifted.start == natural.start + 4.0 or gained(lifted.start + 0.5, hidden=False) < 0.99 * before + 0.003
    assert gained(lifted.start, hidden=True) >= gained(natural.start, hidden=True) > 0


def test_nothing_is_said_of_new_items_where_nobody_is_asked_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    log, texts = shop(60, seed=1, never=2)
    vectors = np.array([[theme in text for theme in THEMES] for text in texts], np.float32)
    fitted = learning.fitted(log, texts, vectors)
    monkeypatch.setattr(protocols, "as_new", lambda log, _: np.zeros(len(log.item_ids), bool))
    assert learning.hidden_from(fitted, log, texts, vectors).untaken is None
