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
from msr_local.evaluation import past
from msr_local.evaluation.experiment import Experiment, Options
from msr_local.evaluation.recommended import MODEL, RECOMMENDED
from msr_local.models.spec import Cast
from msr_local.recall.learned import Learned
from msr_local.recall.protocols import Case
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


@pytest.fixture
def fittings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Log, list[Case]]]:
    """What recall is learned from, and of whom, where the workspace uses learned recall; that is always better."""
    found: list[tuple[Log, list[Case]]] = []
    learn = past.fitted

    def watched(log: Log, *rest: Any, held: Any) -> Any:
        found.append((log, held[0]))
        made = learn(log, *rest, held=held)
        return replace(made, facts={**made.facts, "used": True})

    monkeypatch.setattr(past, "fitted", watched)
    monkeypatch.setattr(past, "LEAST", 20)
    monkeypatch.setattr(results, "learned_recall_facts", lambda _: {"used": True})
    return found


Fittings = list[tuple[Log, list[Case]]]


@pytest.mark.parametrize("used", [True, False, None])
def test_recall_is_learned_again_from_what_was_known_where_the_workspace_uses_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, fittings: Fittings, used: bool | None
) -> None:
    monkeypatch.setattr(results, "learned_recall_facts", lambda _: None if used is None else {"used": used})
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, QUICK)
        _, facts = experiment.recommended(recommender)
        experiment.recommended(recommender, "history")  # the same texts: not learned twice
    assert facts["recall"] == ("learned" if used else "hand-set")
    assert len(fittings) == (1 if used else 0)
    known = experiment.plan.known_at_test
    for log, cases in fittings:
        assert log.items.tolist() == experiment.log.items[known].tolist()
        assert cases == experiment.plan.validation  # as the weights of the blends


def test_learned_recall_that_is_no_better_there_is_not_used(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, fittings: Fittings
) -> None:
    worse = past.fitted

    def learn(*rest: Any, held: Any) -> Any:
        made = worse(*rest, held=held)
        return replace(made, facts={**made.facts, "used": False})

    monkeypatch.setattr(past, "fitted", learn)
    with shop.recommender(HISTORY) as recommender:
        assert Experiment(recommender, QUICK).recommended(recommender)[1]["recall"] == "hand-set"
    assert len(fittings) == 1


def test_the_weights_are_fitted_to_the_moments_that_are_asked_about(shop: Shop, fittings: Fittings) -> None:
    """Recall alone that is learned orders drawn candidates about as well as the blend of the same scores."""
    with shop.recommender(HISTORY) as recommender:
        found = Experiment(recommender, replace(QUICK, users=None, questions=False)).run()
    alone, blend = (found["baselines"][name]["auc_per_user"]["value"] for name in ("recall alone", "learned recall"))
    assert alone == pytest.approx(blend, abs=0.1)


def test_of_too_few_users_nothing_is_learned(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "learned_recall_facts", lambda _: {"used": True})
    with shop.recommender(HISTORY) as recommender:
        assert Experiment(recommender, QUICK).recommended(recommender)[1]["recall"] == "hand-set"


def test_to_recall_that_is_learned_again_cold_items_have_come_since(shop: Shop, fittings: Fittings) -> None:
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, replace(QUICK, protocol="cold-items"))
        learned = experiment._past(recommender).recall.learned
        plain = Experiment(recommender, QUICK)._past(recommender).recall.learned
    assert isinstance(learned, Learned) and isinstance(plain, Learned)
    assert learned.new.tolist() == np.flatnonzero(experiment.plan.cold).tolist() != [] == plain.new.tolist()
    assert not any(np.isin(log.items, learned.new).any() for log, _ in fittings[:1])
