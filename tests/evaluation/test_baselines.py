"""The baselines, against brute force, and what is said of those that cannot be had."""

from __future__ import annotations

import numpy as np
import pytest

from msr_local.evaluation import baselines, sequential
from msr_local.recipe.candidates import Recall
from msr_local.store.rows import Log


def log(histories: list[list[int]], items: int, times: bool = False) -> Log:
    users = np.repeat(np.arange(len(histories)), [len(one) for one in histories]).astype(np.int32)
    flat = np.array([item for one in histories for item in one], np.int32)
    when = np.arange(len(flat), dtype=float) if times else np.full(len(flat), np.nan)
    return Log([f"i{n}" for n in range(items)], [f"u{n}" for n in range(len(histories))], users, flat, when)


def scorers(made: Log, *, slow: bool = False) -> tuple[dict[str, baselines.Scorer], list[str]]:
    notes: list[str] = []
    recall = Recall(made.item_ids, made.users, made.items, [f"film {n % 3}" for n in range(len(made.item_ids))])
    known = np.ones(len(made.users), bool)
    return dict(baselines.scorers(made, known, recall, seed=0, slow=slow, note=notes.append)), notes


CHAINS = [[n % 6, (n + 1) % 6, (n + 2) % 6, (n + 3) % 6] for n in range(60)]


def test_ease_is_the_closed_form_of_the_paper() -> None:
    made = log([*CHAINS[:20], [0, 6], [6, 1]], 7)
    found, _ = scorers(made)
    taken = np.zeros((len(made.user_ids), 7))
    taken[made.users, made.items] = 1
    inverse = np.linalg.inv(taken.T @ taken + 150.0 * np.eye(7))
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0)
    assert found["EASE"](np.array([0, 6], np.int32)) == pytest.approx(weights[0] + weights[6], rel=1e-4)


def test_popularity_counts_people_and_recent_popularity_the_late_ones() -> None:
    found, notes = scorers(log([[0, 1]] * 9 + [[0, 2]] * 2, 3, times=True))
    history = np.array([0], np.int32)
    assert found["popularity"](history).tolist() == [11, 9, 2]
    assert found["recent popularity"](history).tolist() == [1, 0, 2]  # the last tenth of 22 interactions
    assert notes == []


def test_without_times_there_is_no_recent_popularity() -> None:
    found, notes = scorers(log(CHAINS, 6))
    assert "recent popularity" not in found and notes == ["Recent popularity is left out: there are no times."]


def test_chance_is_the_same_chance_each_time() -> None:
    history = np.array([0], np.int32)
    first, again = (scorers(log(CHAINS, 6))[0]["random"](history) for _ in range(2))
    assert first.tolist() == again.tolist() and len(set(first)) == 6


def test_too_many_items_for_ease_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_EASE_ITEMS", 5)
    found, notes = scorers(log(CHAINS, 6))
    assert "EASE" not in found and notes[-1] == "EASE is left out: 6 items, and its matrix is dense (at most 5)."


def test_without_cornac_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential, "missing_packages", lambda: ["cornac"])
    _, notes = scorers(log(CHAINS, 6), slow=True)
    assert notes[-1].endswith("they need cornac. Next: pip install 'msr-local[baselines]'.")


@pytest.mark.parametrize("name", sequential.NAMES)
def test_a_sequence_that_always_goes_on_in_one_way_is_learned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cornac")
    monkeypatch.setitem(sequential.EPOCHS, name, 60)
    made = log(CHAINS * 8, 8)  # items 6 and 7 are never taken
    known = np.ones(len(made.users), bool)
    score = sequential.trained(name, made, known, 0)
    after = score(np.array([2, 3, 4], np.int32))
    assert after[:6].argmax() == 5 and len(after) == 8
    assert after[6] == after[7] == after.min()
