"""A whole evaluation on a small shop: what it prints, that it goes on, and that planted leaks are caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_shop import FILMS
from recipe.recipe_shop import Shop, Watched

from msr_local.errors import InputError
from msr_local.evaluation.baselines import TOWERS
from msr_local.evaluation.experiment import BLEND, LEARNED, MORE, READ, READING, Experiment, Options
from msr_local.evaluation.recommended import ALONE, MODEL, RECOMMENDED
from msr_local.models.spec import Fused, Scorer
from msr_local.recall import protocols
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import RECIPES, Recipe
from msr_local.store import runs

QUICK = Options(count=8, slow=False)
HISTORY = RECIPES["history"]


def evaluated(
    shop: Shop, options: Options = QUICK, recipe: Recipe = HISTORY, note: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    with shop.recommender(recipe) as recommender:
        return Experiment(recommender, options, note=note).run()


def test_the_document_holds_what_others_rely_on(shop: Shop) -> None:
    found = evaluated(shop)
    assert (found["protocol"], found["users"], found["candidates"], found["seed"]) == ("last", 60, 9, 0)
    assert found["split"]["kind"] == "order" and found["system"] == RECOMMENDED
    for metric in ("auc", "auc_per_user", "hr@1", "hr@5", "mrr@5", "ndcg@5", "ndcg@10", "ndcg@20"):
        low, high = found["metrics"][metric]["ci95"]
        assert 0 <= low <= found["metrics"][metric]["value"] <= high <= 1
    names = {"random", "popularity", "recent popularity", "latest popularity", "item-kNN", "best item-kNN", "Markov",
             "text", "best text", "words", "EASE"}  # fmt: skip
    assert set(found["baselines"]) == {*names, TOWERS, BLEND, MORE, READING, READ, LEARNED, MODEL, ALONE}
    assert all(
        set(one) >= {"auc", "hr@5", "mrr@5", "coverage", "mean_popularity"} for one in found["baselines"].values()
    )
    assert 0 <= found["baselines"][READ]["calibration_error"]["value"] <= 1
    pairs = (
        (RECOMMENDED, BLEND), (READING, TOWERS), (READ, BLEND), (READ, MORE), (LEARNED, BLEND), (RECOMMENDED, READ),
        (RECOMMENDED, LEARNED), (RECOMMENDED, ALONE), (RECOMMENDED, MODEL), (ALONE, "text"),
    )  # fmt: skip
    assert set(found["tests"]) == {f"{one} - {other}" for one, other in pairs}
    assert 0 < found["tests"][f"{RECOMMENDED} - {BLEND}"]["ndcg@10"]["p"] <= 1


def test_a_taste_that_is_there_is_found_and_chance_is_chance(shop: Shop) -> None:
    found = evaluated(shop, replace(QUICK, model=False))
    assert found["system"] == MORE
    systems = {MORE: found["metrics"], **found["baselines"]}
    assert systems["item-kNN"]["auc"]["value"] > 0.75
    assert systems[BLEND]["auc"]["value"] > 0.75
    low, high = systems["random"]["auc"]["ci95"]
    assert low < 0.5 < high
    assert shop.record.opened == 0  # no model was needed


def test_the_same_again_asks_nothing_and_finds_the_same(shop: Shop) -> None:
    first = evaluated(shop)
    asked = len(shop.record.take())
    again = evaluated(shop)
    assert asked == 60 * 9 and shop.record.take() == []
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert len(shop.record.read) == 30  # each film's text, once


def test_without_questions_the_items_are_read_and_nothing_is_asked(shop: Shop) -> None:
    found = evaluated(shop, replace(QUICK, questions=False))
    assert found["system"] == READ and MODEL not in found["baselines"]
    assert READING in found["fusion"][READ]["scores"] and TOWERS not in found["fusion"][READ]["scores"]
    assert len(shop.record.read) == 30 and shop.record.take() == []


def test_a_stopped_evaluation_goes_on(shop: Shop) -> None:
    shop.record.patience = 200
    with pytest.raises(KeyboardInterrupt):
        evaluated(shop)
    shop.record.take()
    shop.record.patience = float("inf")
    evaluated(shop)
    assert len(shop.record.take()) == 60 * 9 - 200


def test_summaries_are_those_of_the_history_before_the_question(shop: Shop) -> None:
    evaluated(shop, replace(QUICK, users=3), RECIPES["no-image"])
    scoring = [prompt for prompt in shop.record.take() if "Will this person" in prompt]
    assert scoring and all("What this person likes:" in prompt for prompt in scoring)
    assert shop.workspace.one("SELECT count(*) FROM preferences") == 0  # the present chains are not touched


def test_ranking_everything_ranks_everything(shop: Shop) -> None:
    """The rank of each answer among all items that the history does not hold, for a system that can be worked out."""
    options = replace(QUICK, full=True, candidates=5, model=False)
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, options)
        found = experiment.run()
    ranks = []
    for case in experiment.plan.test:
        count = experiment.test.recall.count
        others = [count[item] for item in range(len(count)) if item not in case.history and item != case.target]
        ranks.append(1 + sum(one > count[case.target] for one in others) + 0.5 * others.count(count[case.target]))
    assert found["negatives"] is None and found["candidates"] is found["recalled"] is None
    assert "auc" not in found["metrics"] and "auc_per_user" not in found["metrics"]
    for k in (5, 10):
        assert found["baselines"]["popularity"][f"hr@{k}"]["value"] == pytest.approx(np.mean(np.array(ranks) <= k))


def test_the_model_is_asked_about_the_best_of_recall(shop: Shop) -> None:
    """What recall does not put among them is a miss of the model's, and below the list for whoever gets it."""
    found = evaluated(shop, replace(QUICK, full=True, candidates=5, users=20))
    assert len(shop.record.take()) == 5 * 20
    systems = {found["system"]: found["metrics"], **found["baselines"]}
    assert found["system"] == RECOMMENDED and found["recall"] == "hand-set" and found["candidates"] == 5
    assert systems[MODEL]["hr@20"]["value"] == pytest.approx(found["recalled"])
    assert systems[RECOMMENDED]["hr@5"]["value"] == pytest.approx(found["recalled"])
    assert systems[ALONE]["hr@5"]["value"] == pytest.approx(found["recalled"])
    assert systems[RECOMMENDED]["hr@20"]["value"] > found["recalled"]


def test_hard_negatives_are_harder(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "_HARD", 8)  # of thirty films a hundred would be all
    easy, hard = (
        evaluated(shop, replace(QUICK, negatives=kind, model=False))["baselines"]["item-kNN"]["auc"]["value"]
        for kind in ("uniform", "hard")
    )
    assert hard < easy


# ---- leaks


def planted(shop: Shop, kind: str, run_id: str = "r1") -> Recommender:
    """A recommender with an adapter that was trained here, holding back by `kind`."""
    if runs.run(shop.workspace, "r1") is None:
        runs.start_run(shop.workspace, "r1", "tuned", stage="done", settings={}, split={}, versions={})
    scorer = Scorer("tuned", False, "merged", Path("m.gguf"), "c" * 64, 1024, Fused(1.0), Recipe(), run_id,
                    {"kind": kind, "validation_from": None, "test_from": None})  # fmt: skip
    tuned = replace(shop.cast, scorer=scorer, recipe=HISTORY)
    return Recommender(shop.workspace, tuned, open_engine=lambda _: Watched(shop.engine, shop.record))


def test_an_adapter_that_saw_the_answers_is_refused(shop: Shop) -> None:
    with planted(shop, "users") as recommender, pytest.raises(
        InputError, match=r"adapter tuned saw \d+ of the 60 positives.*--split order"
    ):  # fmt: skip
        Experiment(recommender, QUICK)


def test_an_adapter_that_did_not_is_welcome(shop: Shop) -> None:
    for kind, options in (("order", QUICK), ("users", replace(QUICK, split="users"))):
        with planted(shop, kind) as recommender:
            assert Experiment(recommender, options).plan.split.kind == kind


def test_an_adapter_is_refused_once_interactions_that_it_may_have_seen_are_gone(shop: Shop) -> None:
    """Who lost the last items has others held back today: ones that the adapter was trained on."""
    with planted(shop, "order") as recommender:
        now = len(Experiment(recommender, QUICK).log.items)
        runs.update_run(shop.workspace, "r1", split={"interactions": now + 1})
        with pytest.raises(InputError, match=f"held {now + 1} interactions; it now holds only {now},.*Next: msr-local"):
            Experiment(recommender, QUICK)


def test_of_an_adapter_from_elsewhere_nothing_is_known(shop: Shop) -> None:
    notes: list[str] = []
    with planted(shop, "users", run_id="of another workspace") as recommender:
        Experiment(recommender, QUICK, note=notes.append)
    assert notes == ["Adapter tuned was trained in another workspace: it may have seen the test."]


@pytest.mark.parametrize(("split", "full"), [("order", False), ("users", False), ("order", True), ("users", True)])
def test_nothing_that_is_fitted_depends_on_the_answers(shop: Shop, split: str, full: bool) -> None:
    """The answers are exchanged for others: every score of the items of before stays what it was."""
    options = replace(QUICK, split=split, full=full, model=False)
    states = []
    for _ in range(2):
        with shop.recommender(HISTORY) as recommender:
            experiment = Experiment(recommender, options)
            log, known = experiment.log, experiment.plan.known_at_test
            recall = experiment._recall(known)
            states.append({
                "known": [*zip(log.users[known].tolist(), log.items[known].tolist(), strict=True)],
                "taken": recall.tables.by_user.toarray().tolist(),
                "follows": recall.tables.follows.toarray().tolist(),
                "fusion": experiment.run()["fusion"],
            })  # fmt: skip
        for case in experiment.plan.test:
            exchange(shop, log.user_ids[case.user], log.item_ids[case.target])
    assert states[0] == states[1]


def exchange(shop: Shop, user: str, item: str) -> None:
    """Let the user have taken another item instead."""
    rows = shop.workspace.execute("SELECT item_id FROM interactions WHERE user_id = ?", [user])
    other = max(set(FILMS) - {taken for (taken,) in rows})
    with shop.workspace.write():
        shop.workspace.execute(
            "UPDATE interactions SET item_id = ? WHERE user_id = ? AND item_id = ?", [other, user, item]
        )


def test_whoever_ranks_everything_is_fitted_on_lists_that_stand_for_everything(shop: Shop) -> None:
    """Were the answer put among what recall finds, low recall would look like the sign of an answer."""
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, replace(QUICK, full=True, model=False))
        found = experiment.run()
    systems = {found["system"]: found["metrics"], **found["baselines"]}
    half = experiment.validation
    for case, items in zip(half.cases, half.candidates, strict=True):
        assert items[0] == case.target and set(items.tolist()) == {*range(30)} - case.taken | {case.target}
    best = max(one["ndcg@10"]["value"] for name, one in systems.items() if "blend" not in name)
    assert systems[BLEND]["ndcg@10"]["value"] > best - 0.03


@pytest.mark.parametrize("full", [False, True])
def test_without_validation_users_each_system_stands_alone(shop: Shop, full: bool) -> None:
    options = replace(QUICK, split="users", users=3, full=full, candidates=6)
    with shop.recommender(HISTORY) as recommender:
        plan = Experiment(recommender, options).plan
    for user in sorted({plan.log.user_ids[case.user] for case in plan.validation}):
        with shop.workspace.write():
            shop.workspace.execute("DELETE FROM interactions WHERE user_id = ?", [user])
    notes: list[str] = []
    found = evaluated(shop, options, note=notes.append)
    assert plan.validation and found["validation_users"] == 0 and found["fusion"] == {}
    assert len(notes) == 1 and notes[0].startswith("The blends are left out: there are no validation users")
    assert found["system"] == RECOMMENDED and {READING, TOWERS, "item-kNN"} <= set(found["baselines"])
