"""Calibration: fitted to what users of the workspace took, used from then on, and never known to an evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_shop import FILMS
from recipe.recipe_shop import Shop
from test_experiment import HISTORY, QUICK, planted

from msr_local.arrays import Vector
from msr_local.errors import InputError, WorkspaceError
from msr_local.evaluation import calibration
from msr_local.evaluation.calibration import Asking, calibrate, forget, offered
from msr_local.evaluation.experiment import Experiment
from msr_local.models.spec import Fused
from msr_local.recall.candidates import RECALL_WEIGHT
from msr_local.recall.learning import Hidden, held_back, hidden_by_hand
from msr_local.recall.splits import TRAIN, split
from msr_local.recipe import calibrated
from msr_local.recipe.explanations import explain
from msr_local.store import histories, results
from msr_local.store.rows import LearnedRow
from msr_local.store.workspace import now


def invented(users: int, on_z: float, on_recall: float, seed: int = 0) -> Asking:
    """What of 21 candidates each user takes by a softmax of their log-odds and recall."""
    lot = np.random.default_rng(seed)
    z, recall = lot.normal(size=(users, 21)), lot.random((users, 21))
    answers = np.zeros((users, 21))
    for row, scores in enumerate(on_z * z + on_recall * recall + lot.gumbel(size=z.shape)):
        answers[row, scores.argmax()] = 1.0
    moments = np.repeat(np.arange(users, dtype=np.int32), 21)
    return Asking(z.ravel(), recall.ravel(), answers.ravel(), moments)


def test_the_weight_is_how_much_recall_tells_beside_the_answers() -> None:
    assert invented(2000, 1.0, 8.0).fused().weight == pytest.approx(8.0, rel=0.15)
    assert invented(2000, 0.5, 8.0).fused().weight == pytest.approx(16.0, rel=0.2)
    assert invented(2000, 1.0, 0.0).fused().weight < 1.0


def test_a_model_that_tells_nothing_orders_nothing() -> None:
    asked = invented(300, -0.2, 8.0)
    weight = asked.fused().weight
    worst = max(abs(asked.z))
    assert weight > 10 * worst  # recall decides, unless two candidates are all but equal
    worth = calibration._worth(asked)
    assert worth["both"]["value"] == pytest.approx(worth["recall"]["value"], abs=0.01)


def test_what_both_are_worth_is_measured_on_users_that_the_weight_was_not_fitted_to() -> None:
    """Where answers and recall are noise, a weight that knew the users would look better than chance."""
    by_chance = np.mean(1 / np.arange(1, 22))
    found = [calibration._worth(invented(24, 0.0, 0.0, seed))["both"]["value"] for seed in range(60)]
    assert np.mean(found) == pytest.approx(by_chance, abs=3 * np.std(found) / np.sqrt(len(found)))


def test_from_then_on_lists_are_in_the_order_of_what_was_fitted(shop: Shop) -> None:
    with shop.recommender(HISTORY) as recommender:
        before = recommender.recommend("u00").items
        assert recommender.fused(False) == Fused(RECALL_WEIGHT) and all(one.probability is None for one in before)
        found = calibrate(recommender)
        weight, scaling = found["fused"]["recall"], found["fused"]["calibration"]
        assert found["recall"] == "hand-set" and found["before"] == Fused(RECALL_WEIGHT).to_json()
        assert calibration.LEAST <= found["users"] <= 60 and found["questions"] > 2 * found["users"]
        shop.record.take()
        after = recommender.recommend("u00").items
        for one in after:
            told = recommender.recall.now().candidate(recommender.user("u00").seen, one.item_id)
            assert one.score == pytest.approx(one.log_odds + weight * told.recall)
            if scaling:
                p = 1 / (1 + np.exp(-scaling["a"] * one.score - scaling["b"]))
                assert one.probability == pytest.approx(p)
        assert explain(recommender, "u00", after[0].item_id).probability == after[0].probability
    with shop.recommender(HISTORY) as again:  # another process
        assert again.fused(False) == Fused.from_json(found["fused"])
        assert again.fused(True) == Fused(RECALL_WEIGHT)  # of learned recall nothing is known
        assert forget(again) == {"recall": "hand-set", "fused": Fused(RECALL_WEIGHT).to_json()}
        assert again.fused(False) == Fused(RECALL_WEIGHT)
    with shop.recommender() as other:  # by another recipe other questions are asked
        assert other.fused(False) == Fused(RECALL_WEIGHT)


def test_the_same_again_asks_nothing_and_fits_the_same(shop: Shop) -> None:
    with shop.recommender(HISTORY) as recommender:
        first = calibrate(recommender, users=25)
        assert first["users"] == 25 and len(shop.record.take()) == first["questions"]
        again = calibrate(recommender, users=25)
    assert shop.record.take() == [] and {**again, "before": 0} == {**first, "before": 0}


def test_who_is_stopped_goes_on(shop: Shop) -> None:
    with shop.recommender(HISTORY) as recommender:
        shop.record.patience = 100
        with pytest.raises(KeyboardInterrupt):
            calibrate(recommender)
        shop.record.take()
        shop.record.patience = float("inf")
        assert calibrated.facts(shop.workspace, recommender.judge.settings, False) is None
    with shop.recommender(HISTORY) as recommender:
        questions = calibrate(recommender)["questions"]
    assert len(shop.record.take()) == questions - 100


def test_too_few_users_fit_nothing(shop: Shop) -> None:
    shop.workspace.execute("DELETE FROM interactions WHERE user_id > 'u10'")
    with shop.recommender(HISTORY) as recommender:
        with pytest.raises(InputError, match=r"11 users.*needed: 20.*Next: ingest more"):
            calibrate(recommender)
        assert recommender.fused(False) == Fused(RECALL_WEIGHT) and shop.record.take() == []


def test_too_little_is_left_of_what_recall_was_learned_from(shop: Shop) -> None:
    """Learned recall is used, and then most interactions are gone."""
    results.save_learned_recall(shop.workspace, LearnedRow("k", {}, {"used": True}, [], b"", now()))
    shop.workspace.execute("DELETE FROM interactions WHERE user_id > 'u00'")
    with shop.recommender(HISTORY) as recommender, pytest.raises(InputError, match=r"1 users.*too few.*Next"):
        calibrate(recommender)
    assert shop.record.take() == []


def test_where_nothing_can_be_kept_nothing_is_asked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise WorkspaceError("read-only")

    monkeypatch.setattr(shop.workspace, "require_writable", refuse)
    with shop.recommender(HISTORY) as recommender, pytest.raises(WorkspaceError):
        calibrate(recommender)
    assert shop.record.take() == []


def held(shop: Shop) -> Hidden:
    log = histories.log(shop.workspace)
    cases, known, _ = held_back(log)
    return hidden_by_hand(log, FILMS, cases, known)


def test_a_list_has_what_was_taken_first_and_then_what_recall_offers_with_it(shop: Shop) -> None:
    there = held(shop)
    recall = there.recall
    lists = offered(there, 40, seed=3)
    assert len({case.user for case, _ in lists}) == len(lists) == 40
    for case, some in lists:
        ids = [one.item_id for one in some]
        assert ids[0] == recall.item_ids[case.target] and len(set(ids)) == len(ids) <= 16
        assert not {recall.item_ids[item] for item in case.taken} & {*ids[1:]}
        for one in some:
            assert one == recall.candidate([recall.item_ids[item] for item in case.history], one.item_id)
    assert offered(there, 40, seed=3) == lists != offered(there, 40, seed=4)


def test_nobody_is_known_to_have_taken_a_hidden_item_and_a_third_are_asked_for_one(shop: Shop) -> None:
    there = held(shop)
    assert 1 <= there.items.sum() <= 6
    assert not there.recall.count[there.items].any() and there.recall.count[~there.items].all()
    for case in there.cases:
        assert len(case.history) and not there.items[case.history].any()
    natural = int(there.asked_for.sum())
    lists = offered(there, 60, seed=0)
    asked = [there.items[case.target] for case, _ in lists]
    assert 0 < sum(asked) <= min(natural, 20)
    assert all((some[0].popular is None) == hidden for (_, some), hidden in zip(lists, asked, strict=True))
    few = offered(there, 9, seed=0)
    assert len(few) == 9 and sum(there.items[case.target] for case, _ in few) == 3


def test_an_adapter_is_not_asked_about_what_it_was_trained_on(shop: Shop) -> None:
    """With users held back, most users' last interactions were in its training."""
    with planted(shop, "users") as recommender:
        log = histories.log(shop.workspace)
        part = split(log, "users")[1]
        allowed = calibration._unseen(recommender, log)
        assert allowed is not None and (allowed == (part != TRAIN)).all()
        lists = offered(held(shop), 60, 0, allowed)
        assert lists and all(part[case.row] != TRAIN for case, _ in lists)
    with planted(shop, "users", run_id="elsewhere") as recommender:
        assert calibration._unseen(recommender, log) is None


def test_an_evaluation_fits_its_own_to_validation_users(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fitted in the workspace knows the answers: it says whether and to how many users, and no more."""
    monkeypatch.setattr(calibration, "LEAST", 5)
    asked: list[set[tuple[int, int]]] = []

    def watched(*args: object) -> Asking:
        lists = args[2]
        asked.append({(case.user, case.row) for case, _ in lists})  # type: ignore[attr-defined]
        return calibration.ask(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("msr_local.evaluation.experiment.ask", watched)
    with shop.recommender(HISTORY) as recommender:
        plain = Experiment(recommender, QUICK).run()
        assert plain["fused"] == Fused(RECALL_WEIGHT).to_json() and not asked
        kept = {"fused": Fused(200.0).to_json(), "users": 30}
        calibrated.keep(shop.workspace, recommender.judge.settings, False, kept)
        experiment = Experiment(recommender, QUICK)
        found = experiment.run()
        calibrated.keep(shop.workspace, recommender.judge.settings, False, {**kept, "fused": Fused(1.0).to_json()})
        again = Experiment(recommender, QUICK).run()
    validation = {(case.user, case.row) for case in experiment.plan.validation}
    assert asked and all(some <= validation and len(some) <= 30 for some in asked)
    assert found["fused"]["recall"] not in (RECALL_WEIGHT, 200.0) and again["fused"] == found["fused"]


def test_ranks_of_equals_are_the_middle_ones() -> None:
    answers: Vector = np.array([1.0, 0, 0, 0, 1, 0, 0, 0])
    moments = np.array([0] * 4 + [1] * 4, np.int32)
    worth = calibration._worth(Asking(np.zeros(8), np.zeros(8), answers, moments))
    assert worth["answers"]["value"] == worth["recall"]["value"] == pytest.approx(1 / 2.5)
