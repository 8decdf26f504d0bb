"""Items that are as new: nobody sees an interaction of theirs before they are asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_shop import FILMS
from recipe.recipe_shop import Shop
from test_experiment import planted

from msr_local.errors import InputError
from msr_local.evaluation.experiment import BLEND, LEARNED, READING, TEXTS, Experiment, Options
from msr_local.evaluation.recommended import MODEL, RECOMMENDED
from msr_local.recall import towers
from msr_local.recipes import RECIPES

COLD = Options(protocol="cold-items", slow=False, candidates=6)
HISTORY = RECIPES["history"]


def test_cold_items_and_others_are_reported_apart_and_together(shop: Shop) -> None:
    for name in FILMS:  # the two tastes are in the texts
        shop.rename(name, f"{'Alpine' if name < 'f15' else 'Desert'} film {name}")
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, replace(COLD, users=20))
        found = experiment.run()
    cold = experiment.plan.cold
    assert cold is not None and found["cold_items"] == cold.sum() > 0
    assert found["users"] == 20 and found["negatives"] is None and found["system"] == RECOMMENDED
    systems = {RECOMMENDED: found["metrics"], **found["baselines"]}
    assert {"text", "popularity", BLEND, READING, TEXTS, LEARNED, MODEL} <= set(systems)
    for name, together in systems.items():
        parts = [found[part]["metrics"][name]["ndcg@10"]["value"] for part in ("cold", "warm")]
        assert together["ndcg@10"]["value"] == pytest.approx(sum(parts) / 2), name
    assert systems[MODEL]["hr@20"]["value"] == pytest.approx(found["recalled"])
    metrics = {name: found["cold"]["metrics"][name]["ndcg@10"]["value"] for name in systems}
    assert metrics["popularity"] < metrics["text"] > 0.1
    assert metrics["item-kNN"] < metrics["text"]
    tests = found["cold"]["tests"][f"{RECOMMENDED} - {LEARNED}"]
    assert set(tests) == {"hr@10", "ndcg@10"} and 0 < tests["ndcg@10"]["p"] <= 1
    assert TEXTS not in found["fusion"][BLEND]["scores"]
    shelf = found["among_cold"]["metrics"]
    assert shelf.keys() == systems.keys()
    for name, one in shelf.items():  # the others only stand in the way
        assert one["ndcg@10"]["value"] >= found["cold"]["metrics"][name]["ndcg@10"]["value"], name
        assert one["hr@10"]["value"] == 1.0 or int(cold.sum()) > 10 or name == MODEL, name
    assert set(found["among_cold"]["tests"][f"{RECOMMENDED} - {LEARNED}"]) == {"hr@10", "ndcg@10"}


def test_every_list_is_of_the_whole_catalogue_with_cold_items_in_it(shop: Shop) -> None:
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, COLD)
        assert experiment.options.full
        half, cold = experiment.validation, np.flatnonzero(experiment.plan.cold)
    assert half.recall.count[cold].tolist() == [0] * len(cold)
    assert experiment.test.recall.count[cold].tolist() == [0] * len(cold)
    for case, items in zip(half.cases, half.candidates, strict=True):
        assert case.target not in cold
        assert {*cold.tolist()} <= {*items.tolist()}  # as negatives, whether that user took them or not


def test_twins_change_nothing_and_know_texts_alone(shop: Shop) -> None:
    """The towers without ids are those that read, and training does not see that there are more items."""
    with shop.recommender(HISTORY) as recommender:
        experiment = Experiment(recommender, COLD)
        known, log = experiment.plan.known_at_test, experiment.log
        history, items = np.array([1, 4], np.int32), np.arange(30, dtype=np.int32)
        found = experiment._reading(known)(history, items)
        alone = towers.trained(log.users[known], log.items[known], 30, experiment._vectors)
    assert found[READING] == pytest.approx(alone(history, items))
    (cold, *_) = np.flatnonzero(experiment.plan.cold)
    assert found[TEXTS] != pytest.approx(found[READING])
    assert np.abs(alone.items[cold]).sum() > 0  # of a cold item too there is a vector


def test_an_adapter_that_saw_new_items_is_refused(shop: Shop) -> None:
    with planted(shop, "order") as recommender, pytest.raises(
        InputError, match=r"adapter tuned .* of the \d items that are to be new\. Next: --adapter none"
    ):  # fmt: skip
        Experiment(recommender, COLD)
