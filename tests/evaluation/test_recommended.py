"""What is measured as recommended is what `recommend` would have recommended."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_shop import FILMS
from recipe.recipe_shop import Shop

from msr_local.engine.fake import FakeEngine
from msr_local.engine.types import EngineConfig
from msr_local.evaluation import recommended
from msr_local.evaluation.experiment import Experiment, Options
from msr_local.evaluation.recommended import MODEL, RECOMMENDED
from msr_local.models.spec import Cast
from msr_local.recall.fusion import SHAPES, Fusion
from msr_local.recall.learned import RECALLED, Learned
from msr_local.recall.towers import Towers
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import RECIPES, Recipe
from msr_local.store import catalogue, results
from msr_local.store.rows import InteractionRow, ItemRow, Log
from msr_local.store.workspace import Workspace

QUICK = Options(count=8, slow=False, users=4)
HISTORY = RECIPES["history"]


@pytest.mark.parametrize(
    ("recipe", "pictures", "candidates"),
    [(HISTORY, False, 7), (RECIPES["no-image"], False, 12), (replace(HISTORY, caption=False), True, 25)],
)
def test_it_is_the_list_that_recommend_made_before_the_last_items_were_taken(
    shop: Shop, recipe: Recipe, pictures: bool, candidates: int
) -> None:
    """With pictures, of 25 candidates 20 are looked at."""
    if pictures:
        for place, name in enumerate(FILMS):
            path = str(shop.folder / f"{name}.png")
            shop.workspace.execute("UPDATE items SET image = ? WHERE item_id = ?", [path, name])
            shop.paint(name, 7 * place)
    with shop.recommender(recipe) as recommender:
        experiment = Experiment(recommender, replace(QUICK, full=True, candidates=candidates))
        standings, facts = experiment.recommended(recommender)
    shop.record.take()
    log, cases = experiment.log, experiment.plan.test
    with shop.workspace.write():
        for row in np.flatnonzero(~experiment.plan.known_at_test):
            shop.workspace.execute(
                "DELETE FROM interactions WHERE user_id = ? AND item_id = ?",
                [log.user_ids[log.users[row]], log.item_ids[log.items[row]]],
            )
    with shop.recommender(recipe) as recommender:
        for case, best, rank in zip(cases, standings[RECOMMENDED].best, standings[RECOMMENDED].ranks, strict=True):
            found = recommender.recommend(log.user_ids[case.user], k=min(10, candidates), candidates=candidates)
            ids = [one.item_id for one in found.items]
            assert len(ids) == min(10, candidates) and [log.item_ids[item] for item in best][: len(ids)] == ids
            target = log.item_ids[case.target]
            assert ids.index(target) + 1 == rank if target in ids else rank > len(ids)
            assert found.pictures["skipped"] > 0 or not pictures
    assert facts["recall"] == "hand-set"


def test_drawn_candidates_are_scored_as_a_list_is(shop: Shop) -> None:
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, QUICK)
        standings, _ = experiment.recommended(recommender)
        recall = experiment.test.recall
        for row, case in enumerate(experiment.plan.test):
            seen = [recall.item_ids[item] for item in case.history]
            found = recall.described(seen, experiment.test.candidates[row])
            z, scores = standings[MODEL].scores, standings[RECOMMENDED].scores
            assert z is not None and scores is not None
            assert scores[row] == pytest.approx(z[row] + 16 * np.array([one.recall for one in found]))
    assert len(shop.record.take()) == 4 * 9  # one answer serves both


def test_among_equals_the_item_taken_has_no_better_place(workspace: Workspace, tmp_path: Path) -> None:
    """All items are as good to the model, and 100 of 240 are drawn: those that nobody took are not asked about."""
    ids = [f"i{n:03}" for n in range(240)]
    catalogue.add_items(workspace, tmp_path, [ItemRow(n, one, f"Film {one}", {}, None) for n, one in enumerate(ids)])
    random.Random(1).shuffle(ids)  # four for each user, and each for one
    log = [InteractionRow(n, f"u{n // 4:02}", one, None, None) for n, one in enumerate(ids)]
    catalogue.add_interactions(workspace, tmp_path, log)
    cast = Cast(EngineConfig(tmp_path), "a" * 64, None, "option", recipe=HISTORY)
    with Recommender(workspace, cast, open_engine=lambda _: FakeEngine(z=lambda _: 0.0)) as recommender:
        experiment = Experiment(recommender, Options(count=100, slow=False))
        found = experiment.recommended(recommender)[0][RECOMMENDED].per_case()["auc_per_user"]
    # Nobody else took the target, so its equals are these, and half of them should stand below it.
    equals = [np.sum(experiment.test.recall.count[items] == 0) - 1 for items in experiment.test.candidates]
    assert np.mean(found) == pytest.approx(np.mean(equals) / 2 / 100, abs=0.03)


def test_what_is_not_looked_at_stands_below(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in enumerate(FILMS):
        path = str(shop.folder / f"{name}.png")
        shop.workspace.execute("UPDATE items SET image = ? WHERE item_id = ?", [path, name])
        shop.paint(name, 7 * place)
    with shop.recommender(Recipe(summary=False, caption=False)) as recommender:
        ranked = recommender.ranked
        monkeypatch.setattr(recommender, "ranked", lambda asked, recall, ask: ranked(asked, recall, ask, 3, 3))
        experiment = Experiment(recommender, QUICK)
        scores = experiment.recommended(recommender)[0][RECOMMENDED].scores
        recall = experiment.test.recall
    assert scores is not None and scores.shape == (4, 9) and not np.isnan(scores).any()
    for row, case in zip(scores, experiment.plan.test, strict=True):
        items = experiment.test.candidates[experiment.plan.test.index(case)]
        found = [one.recall for one in recall.described([recall.item_ids[item] for item in case.history], items)]
        below = np.argsort(-row)[3:]
        assert [found[place] for place in below] == sorted((found[place] for place in below), reverse=True)


@pytest.mark.parametrize("better", [True, False])
@pytest.mark.parametrize("used", [True, False, None])
def test_recall_is_learned_again_from_what_was_known_where_the_workspace_uses_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, used: bool | None, better: bool
) -> None:
    learned_from: list[Log] = []

    class Way:
        def __call__(self, history: Any, by_hand: Any, *_: Any) -> Any:
            return by_hand, {"text": by_hand}, np.arange(len(by_hand))

    def learn(log: Log, texts: Any, vectors: Any, progress: Any) -> Any:
        learned_from.append(log)
        assert len(vectors) == len(texts) == 30
        return Way(), {"used": better}

    monkeypatch.setattr(recommended, "learned_from", learn)
    monkeypatch.setattr(recommended, "LEAST", 20)
    monkeypatch.setattr(results, "learned_recall_facts", lambda _: None if used is None else {"used": used})
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, QUICK)
        _, facts = experiment.recommended(recommender)
        experiment.recommended(recommender, "history")  # the same texts: not learned twice
    assert facts["recall"] == ("learned" if used and better else "hand-set")
    assert len(learned_from) == (1 if used else 0)
    known = experiment.plan.known_at_test
    for log in learned_from:
        assert log.items.tolist() == experiment.log.items[known].tolist()


def test_of_too_few_users_nothing_is_learned(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "learned_recall_facts", lambda _: {"used": True})
    with shop.recommender(HISTORY) as recommender:
        assert Experiment(recommender, QUICK).recommended(recommender)[1]["recall"] == "hand-set"


def test_to_recall_that_is_learned_again_cold_items_have_come_since(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers = Towers(*(np.zeros(shape, np.float32) for shape in ((30, 4), (30,), (3, 4, 4))))
    made = Learned(towers, Fusion(RECALLED, {name: (0.0,) * len(RECALLED) for name in SHAPES}, 0.0))
    monkeypatch.setattr(recommended, "learned_from", lambda *_: (made, {"used": True}))
    monkeypatch.setattr(recommended, "LEAST", 20)
    monkeypatch.setattr(results, "learned_recall_facts", lambda _: {"used": True})
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, replace(QUICK, protocol="cold-items"))
        learned = experiment._recall_then(recommender).learned
        plain = Experiment(recommender, QUICK)._recall_then(recommender).learned
    assert isinstance(learned, Learned) and isinstance(plain, Learned)
    assert learned.new.tolist() == np.flatnonzero(experiment.plan.cold).tolist() != [] == plain.new.tolist()
