"""The baselines, against brute force, and what is said of those that cannot be had."""

from __future__ import annotations

import numpy as np
import pytest

from msr_local.evaluation import baselines, sequential
from msr_local.recall.candidates import Recall
from msr_local.store.rows import Log


def log(histories: list[list[int]], items: int, times: bool = False) -> Log:
    users = np.repeat(np.arange(len(histories)), [len(one) for one in histories]).astype(np.int32)
    flat = np.array([item for one in histories for item in one], np.int32)
    when = np.arange(len(flat), dtype=float) if times else np.full(len(flat), np.nan)
    return Log([f"i{n}" for n in range(items)], [f"u{n}" for n in range(len(histories))], users, flat, when)


def scores(made: Log, history: list[int], *, slow: bool = False) -> tuple[dict[str, np.ndarray], list[str]]:
    """What every baseline says of all items after a history, and the notes."""
    notes: list[str] = []
    recall = Recall.of_log(made, [f"film {n % 3}" for n in range(len(made.item_ids))])
    known = np.ones(len(made.users), bool)
    found: dict[str, np.ndarray] = {}
    for scorer in baselines.scorers(made, known, recall, seed=0, slow=slow, note=notes.append):
        found |= scorer(np.array(history, np.int32), np.arange(len(made.item_ids), dtype=np.int32))
    return found, notes


CHAINS = [[n % 6, (n + 1) % 6, (n + 2) % 6, (n + 3) % 6] for n in range(60)]


def test_ease_is_the_closed_form_of_the_paper() -> None:
    made = log([*CHAINS[:20], [0, 6], [6, 1]], 8)  # nobody takes item 7
    found, _ = scores(made, [0, 6])
    taken = np.zeros((len(made.user_ids), 8))
    taken[made.users, made.items] = 1
    inverse = np.linalg.inv(taken.T @ taken + 150.0 * np.eye(8))
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0)
    assert found["EASE"] == pytest.approx(weights[0] + weights[6], rel=1e-4)
    assert scores(made, [0, 6, 0, 0])[0]["EASE"].tolist() == found["EASE"].tolist()  # taken or not, and no more


def test_popularity_counts_people_and_recent_popularity_the_late_ones() -> None:
    found, notes = scores(log([[0, 1]] * 9 + [[0, 2]] * 2, 3, times=True), [0])
    assert np.expm1(found["popularity"]) == pytest.approx([11, 9, 2])
    assert np.expm1(found["recent popularity"]) == pytest.approx([1, 0, 2])  # the last tenth of 22 interactions
    assert notes == []


def test_features_of_some_items_are_those_that_recall_sums_over_all() -> None:
    made = log([*CHAINS, [0, 3, 5], [5, 0]], 7)
    recall = Recall(made.item_ids, made.users, made.items, [f"film {n % 3} of {n}" for n in range(7)])
    history, items = np.array([2, 0, 5, 3], np.int32), np.array([6, 4, 1, 3], np.int32)
    found = recall.features(history, items)
    whole = recall._sources(history.tolist(), recall._co_occurrence(history.tolist()))
    for name, source in {
        "popularity": "popularity",
        "item-kNN": "item_knn",
        "Markov": "markov",
        "text": "text",
    }.items():
        assert found[name] == pytest.approx(whole[source][items]), name
    assert (found["best item-kNN"] <= found["item-kNN"] + 1e-12).all()  # the sum holds the last item's whole


def test_an_empty_history_and_unknown_items_score_nothing() -> None:
    recall = Recall(["a", "b"], np.zeros(0, np.int32), np.zeros(0, np.int32), ["x", "y"])
    found = recall.features(np.zeros(0, np.int32), np.array([1, 0], np.int32))
    assert all(values.tolist() == [0, 0] for values in found.values())


def test_without_times_there_is_no_recent_popularity() -> None:
    found, notes = scores(log(CHAINS, 6), [0])
    assert "recent popularity" not in found and notes == [
        "Recent and latest popularity are left out: the interactions have no timestamps."
    ]


def test_chance_is_the_same_chance_each_time() -> None:
    first, again = (scores(log(CHAINS, 6), [0])[0]["random"] for _ in range(2))
    assert first.tolist() == again.tolist() and len(set(first)) == 6


def test_too_many_items_for_ease_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_EASE_ITEMS", 5)
    found, notes = scores(log(CHAINS, 6), [0])
    assert (
        "EASE" not in found and notes[-1] == "EASE is left out: its dense matrix is too large for 6 items (at most 5)."
    )


def test_without_cornac_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential, "missing_packages", lambda: ["cornac"])
    _, notes = scores(log(CHAINS, 6), [0], slow=True)
    assert notes[-1].endswith("they need cornac. Next: pip install 'msr-local[baselines]'.")


def test_too_few_histories_to_train_on_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential, "missing_packages", lambda: [])
    _, notes = scores(log([[0, 1], [2]], 3), [0], slow=True)
    assert notes[-1] == "SASRec and GRU4Rec are left out: fewer than two users have two interactions to train on."


@pytest.mark.parametrize("name", sequential.NAMES)
def test_a_sequence_that_always_goes_on_in_one_way_is_learned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cornac")
    monkeypatch.setitem(sequential.EPOCHS, name, 20)
    made = log(CHAINS * 2, 8)  # items 6 and 7 are never taken
    score = sequential.trained(name, made, np.ones(len(made.users), bool), 0)
    (after,) = score(np.array([2, 3, 4], np.int32), np.arange(8, dtype=np.int32)).values()
    assert after[:6].argmax() == 5 and len(after) == 8
    assert after[6] == after[7] == after.min()
