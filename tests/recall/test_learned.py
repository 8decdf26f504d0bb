"""Learned recall: what it gives an item, whatever the history; kept and read back; as fits the items of today."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe.recipe_shop import Record, Shop, Watched

from msr_local.models.spec import Fused, Scorer
from msr_local.recall import candidates, learned
from msr_local.recall.candidates import Recall
from msr_local.recall.fusion import SHAPES, Fusion
from msr_local.recall.learned import RECALLED, SOURCES, Learned
from msr_local.recall.towers import Towers
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import Recipe
from msr_local.store import results
from msr_local.store.workspace import Workspace, now

SIZE = 40


def made(seed: int, size: int = SIZE) -> Recall:
    """A recall over a random log, with random towers and weights."""
    lot = np.random.default_rng(seed)
    users = np.sort(lot.integers(0, 30, 150)).astype(np.int32)
    items = lot.integers(0, size, 150).astype(np.int32)
    recall = Recall(
        [f"i{n}" for n in range(size)], users, items, [f"film {n % 7}" for n in range(size)], lot.random(150) * 1e9
    )
    towers = Towers(*(lot.normal(size=shape).astype(np.float32) for shape in ((size, 8), (size,), (3, 8, 8))))
    weights = {shape: tuple(lot.normal(size=len(RECALLED)).tolist()) for shape in SHAPES}
    recall.learned = Learned(towers, Fusion(RECALLED, weights, 0.0))
    return recall


histories = st.lists(st.sampled_from([*(f"i{n}" for n in range(SIZE)), "unknown"]), max_size=12)


@settings(max_examples=60)
@given(st.integers(0, 5), histories, st.integers(1, SIZE))
def test_recall_is_one_for_the_best_and_the_shares_sum_to_one(seed: int, history: list[str], count: int) -> None:
    recall = made(seed)
    found = recall.candidates(history, count)
    assert len(found) == min(count, SIZE - len({*history} - {"unknown"}))
    assert found[0].recall == 1.0 or not {*history} - {"unknown"}  # who has no history was not learned from
    for one, after in zip(found, [*found[1:], found[-1]], strict=True):
        assert 0.0 <= after.recall <= one.recall
        assert {*one.shares} <= {*SOURCES} and all(share >= 0 for share in one.shares.values())
        assert sum(one.shares.values()) == pytest.approx(1)
        assert recall.candidate(history, one.item_id) == one  # whoever else is asked about


def test_a_nat_of_log_odds_is_a_sixteenth_of_recall() -> None:
    recall = made(0)
    assert recall.learned is not None
    history = np.array([3, 9], np.int32)
    found = recall.candidates(["i3", "i9"], SIZE)
    items = np.array([recall.index[one.item_id] for one in found], np.int32)
    scores = recall.features(history, items) | {learned.READING: recall.learned.towers(history, items)}
    log_odds = recall.learned.fusion(np.stack([scores[name] for name in RECALLED], axis=-1))
    assert [one.recall for one in found] == pytest.approx(np.clip(1 - (log_odds.max() - log_odds) / 16, 0, 1))


def test_only_a_shortlist_is_weighed_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(1).candidates(["i5"], SIZE)
    for module in (learned, candidates):
        monkeypatch.setattr(module, "WEIGHED", 4)
    recall = made(1)
    short = recall.candidates(["i5"], 4)
    assert len(short) == 4 and short[0].recall == 1.0
    # Whether it is on the list or not, an item can be asked about, and the ranking goes on as far as one asks.
    for one in short:
        assert recall.candidate(["i5"], one.item_id) == one
    more = recall.candidates(["i5"], SIZE)
    assert len(more) == SIZE - 1 and more[-1].recall <= more[4].recall
    assert {one.item_id for one in more[:9]} & {one.item_id for one in whole[:9]}


def test_without_items_or_history() -> None:
    assert made(2).candidates([f"i{n}" for n in range(SIZE)], 5) == []
    new = made(2)
    somebody = new.candidates([], 5)
    new.learned = None
    assert somebody == new.candidates([], 5)


def test_far_below_the_best_the_order_goes_on() -> None:
    recall = made(0)
    assert recall.learned is not None
    steep = {
        shape: tuple(100 * weight for weight in weights) for shape, weights in recall.learned.fusion.weights.items()
    }
    gentle = [one.item_id for one in recall.candidates(["i3"], SIZE)]
    recall.learned = Learned(recall.learned.towers, Fusion(RECALLED, steep, 0.0))
    found = recall.candidates(["i3"], SIZE)
    assert [one.item_id for one in found] == gentle
    assert sum(one.recall == 0.0 for one in found) > 10


def test_kept_and_read_back_it_ranks_the_same(workspace: Workspace) -> None:
    recall = made(3)
    assert recall.learned is not None and learned.load(workspace) is None
    learned.save(workspace, "k", recall.learned, recall.item_ids, {"used": True}, now())
    first = {one.item_id: one.recall for one in recall.candidates(["i1", "i2"], SIZE)}
    recall.learned, ids = learned.load(workspace)  # type: ignore[misc]
    assert ids == recall.item_ids
    again = {one.item_id: one.recall for one in recall.candidates(["i1", "i2"], SIZE)}
    assert again == pytest.approx(first, abs=2e-3)  # vectors are kept as halves
    learned.save(workspace, "k2", recall.learned, recall.item_ids, {"used": False}, now())  # type: ignore[arg-type]
    assert learned.load(workspace) is None


def test_what_another_release_learned_is_not_used(workspace: Workspace) -> None:
    recall = made(3)
    assert recall.learned is not None
    learned.save(workspace, "k", recall.learned, recall.item_ids, {"used": True}, now())
    workspace.execute("UPDATE learned_recall SET format = format + 1")
    assert learned.load(workspace) is None
    assert results.learned_recall_facts(workspace) is None and results.learned_recall_key(workspace) is None


def test_items_in_another_order_keep_their_vectors_and_new_ones_are_the_least_taken() -> None:
    recall = made(4)
    assert recall.learned is not None
    ids = ["new", *reversed(recall.item_ids)]
    moved = recall.learned.of(ids, recall.item_ids)
    assert (moved.towers.items[1:] == recall.learned.towers.items[::-1]).all()
    assert not moved.towers.items[0].any() and moved.towers.bias[0] == recall.learned.towers.bias.min()
    assert recall.learned.of(recall.item_ids, recall.item_ids) is recall.learned


@pytest.mark.parametrize(
    ("tuned", "there", "weight"),
    [((3.0, 5.0), False, 3.0), ((3.0, 5.0), True, 5.0), ((3.0, None), False, 3.0), ((3.0, None), True, 16.0)],
)
def test_the_weight_of_recall_is_that_of_the_recall_that_ranks(
    recipe_shop: Shop, tuned: tuple[float, float | None], there: bool, weight: float
) -> None:
    recipe_shop.stock("a", "b", "c", "d")
    recipe_shop.take("ada", "a", "b")
    recipe = Recipe(summary=False, caption=False, image=False)
    scorer = Scorer(
        "mine",
        True,
        "adapter",
        Path("mine.gguf"),
        "c" * 64,
        512,
        Fused(tuned[0]),
        recipe,
        "r1",
        {},
        None if tuned[1] is None else Fused(tuned[1]),
    )
    if there:
        weights = {shape: (0.1,) * len(RECALLED) for shape in SHAPES}
        one = Learned(Towers(*(np.ones(shape, np.float32) for shape in ((4, 8), (4,), (3, 8, 8)))),
                      Fusion(RECALLED, weights, 0.0))  # fmt: skip
        learned.save(recipe_shop.workspace, "k", one, ["a", "b", "c", "d"], {"used": True}, now())
    with Recommender(
        recipe_shop.workspace, replace(recipe_shop.cast, scorer=scorer, recipe=recipe),
        open_engine=lambda _: Watched(recipe_shop.engine, Record()),
    ) as made:  # fmt: skip
        for item in made.recommend("ada").items:
            recall = made.recall.now().candidate(["a", "b"], item.item_id).recall
            assert item.score == pytest.approx(item.log_odds + weight * recall)
        found = made.recommend(made.stranger([])).items  # nothing was learned about who has no history
        assert len(found) == 4
        for item in found:
            recall = made.recall.now().candidate([], item.item_id).recall
            assert item.score == pytest.approx(item.log_odds + tuned[0] * recall)


def test_another_calibration_tells_the_probability_anew_and_asks_nothing(recipe_shop: Shop) -> None:
    recipe_shop.stock("a", "b", "c", "d")
    recipe_shop.take("ada", "a", "b")
    recipe = Recipe(summary=False, caption=False, image=False)
    record = Record()
    for a, b in ((1.0, 0.0), (0.5, -1.0), (0.5, -1.0)):
        scorer = Scorer("mine", True, "adapter", Path("mine.gguf"), "c" * 64, 512, Fused(1.0, (a, b)), recipe, "r", {})
        with Recommender(
            recipe_shop.workspace, replace(recipe_shop.cast, scorer=scorer, recipe=recipe),
            open_engine=lambda _: Watched(recipe_shop.engine, record),
        ) as made:  # fmt: skip
            items = made.recommend("ada").items
        assert len(items) == 2 and len(record.asked) == 2
        for item in items:
            assert item.probability == pytest.approx(1 / (1 + math.exp(-a * item.score - b)))
            assert item.p_yes == pytest.approx(1 / (1 + math.exp(-item.log_odds)))


def test_a_calibrated_answer_that_an_earlier_release_kept_is_the_models_own_again(recipe_shop: Shop) -> None:
    recipe_shop.stock("a", "b", "c", "d")
    recipe_shop.take("ada", "a", "b")
    with recipe_shop.recommender(Recipe(summary=False, caption=False, image=False)) as made:
        before = made.recommend("ada").items
        with recipe_shop.workspace.write():
            recipe_shop.workspace.execute("UPDATE scores SET p_yes = 0.125")
        asked = len(recipe_shop.record.asked)
        assert made.recommend("ada").items == before and len(recipe_shop.record.asked) == asked
    kept = dict(recipe_shop.workspace.execute("SELECT item_id, p_yes FROM scores").fetchall())
    assert kept == {item.item_id: item.p_yes for item in before}


@settings(max_examples=60)
@given(st.integers(0, 5), histories, st.sets(st.sampled_from([f"i{n}" for n in range(SIZE)])), st.integers(1, 12))
def test_only_some_items_are_the_same_items_in_the_same_order(
    seed: int, history: list[str], only: set[str], count: int
) -> None:
    recall = made(seed)
    for learnt in (recall.learned, None):
        recall.learned = learnt
        whole = [one for one in recall.candidates(history, SIZE) if one.item_id in only]
        assert recall.candidates(history, count, only=only) == whole[:count]
        out = sorted(only)[:2]
        left = [one for one in whole if one.item_id not in out]
        assert recall.candidates(history, count, exclude=out, only=only) == left[:count]


@settings(max_examples=30)
@given(st.integers(0, 5), st.sets(st.sampled_from([f"i{n}" for n in range(SIZE)]), max_size=4), st.integers(1, 6))
def test_none_of_a_few_is_missed_by_a_shortlist(seed: int, only: set[str], count: int) -> None:
    history = ["i3", "i9"]
    with pytest.MonkeyPatch.context() as patch:
        for module in (learned, candidates):
            patch.setattr(module, "WEIGHED", 4)
        recall = made(seed)
        found = recall.candidates(history, count, only=only)
        assert {one.item_id for one in found} <= only - {*history}
        assert len(found) == min(count, len(only - {*history}))
        for one in found:  # what is asked about them is the same with and without a filter
            alone = recall.candidate(history, one.item_id)
            assert (alone.rank, alone.companion, alone.together) == (one.rank, one.companion, one.together)
            assert alone.recall == pytest.approx(one.recall)  # sums over other columns are rounded otherwise
