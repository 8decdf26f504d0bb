"""Two towers: what they learn from interactions and from texts, and that their gradients are those of their loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sparse

from msr_local.recall import towers
from msr_local.recall.towers import Whitening, trained
from msr_local.recall.unfinished import Unfinished

RNG = np.random.default_rng(7)
GROUPS, EACH = 6, 10
VECTORS = (np.repeat(np.eye(GROUPS), EACH, axis=0) @ RNG.normal(size=(GROUPS, 24))).astype(np.float32)
VECTORS += RNG.normal(size=VECTORS.shape).astype(np.float32) * 0.3


def log(people: int = 240, *, without: frozenset[int] = frozenset()) -> tuple[np.ndarray, np.ndarray]:
    """People who take five things of one group each; those `without` are never taken."""
    rng = np.random.default_rng(3)
    users, items = [], []
    for user in range(people):
        group = [item for item in range(user % GROUPS * EACH, (user % GROUPS + 1) * EACH) if item not in without]
        some = rng.choice(group, 5, replace=False)
        users += [user] * len(some)
        items += some.tolist()
    return np.array(users, np.int32), np.array(items, np.int32)


EVERYTHING = np.arange(GROUPS * EACH)


@pytest.mark.parametrize("vectors", [None, VECTORS], ids=["ids", "texts"])
def test_what_people_take_together_scores_high_after_it(vectors: np.ndarray | None) -> None:
    made = trained(*log(), GROUPS * EACH, vectors)
    for group in range(GROUPS):
        scores = made(np.array([group * EACH, group * EACH + 1]), EVERYTHING)
        assert set(np.argsort(-scores)[:EACH] // EACH) == {group}


def test_what_is_linked_only_through_others_is_found() -> None:
    """Nobody took both ends of a chain: counts of pairs know nothing of them."""
    half = EACH // 2
    users, items = [], []
    for user in range(600):
        start = user % GROUPS * EACH
        middle = start + half - 1 + user // GROUPS % 2
        ends = range(start, start + half - 1) if user // GROUPS // 2 % 2 else range(start + half + 1, start + EACH)
        some = [*RNG.choice(list(ends), 2, replace=False).tolist(), middle]
        users += [user] * 3
        items += some
    made = trained(np.array(users, np.int32), np.array(items, np.int32), GROUPS * EACH)
    far = [g * EACH + half + 1 + n for g in range(GROUPS) for n in range(EACH - half - 1)]
    scores = made(np.array([0, 1]), np.array(far))
    own, others = scores[: EACH - half - 1], scores[EACH - half - 1 :]
    assert own.mean() > others.mean() + 1


def test_texts_tell_of_what_nobody_took_yet() -> None:
    cold = frozenset(group * EACH for group in range(GROUPS))
    users, items = log(without=cold)
    by_id, reading = (trained(users, items, GROUPS * EACH, vectors) for vectors in (None, VECTORS))
    new = np.array(sorted(cold))
    right = 0
    for group in range(GROUPS):
        history = np.array([group * EACH + 1, group * EACH + 2])
        right += int(reading(history, new).argmax() == group)
        assert len(set(by_id(history, new))) == 1  # ids say nothing of it
    assert right == GROUPS


def test_the_same_seed_gives_the_same_towers_and_another_one_others() -> None:
    first, again, other = (trained(*log(60), GROUPS * EACH, VECTORS, seed=seed) for seed in (1, 1, 2))
    history = np.array([0, 11])
    assert (first(history, EVERYTHING) == again(history, EVERYTHING)).all()
    assert (first(history, EVERYTHING) != other(history, EVERYTHING)).any()


def test_without_a_history_popularity_is_left() -> None:
    users, items = log()
    items[items == 3] = 4
    made = trained(users, items, GROUPS * EACH + 1)
    scores = made(np.array([], np.int32), np.array([4, 3, GROUPS * EACH]))
    assert scores[0] > scores[1] == scores[2]  # nobody took the last two


@pytest.mark.parametrize("people", [0, 5])
def test_where_nobody_took_two_items_nothing_is_claimed(people: int) -> None:
    made = trained(np.arange(people, dtype=np.int32), np.arange(people, dtype=np.int32), 8, VECTORS[:8])
    assert len(set(made(np.array([0, 1]), np.arange(5)))) == 1


def test_a_large_catalogue_is_sampled_and_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towers, "_SAMPLED", 12)
    monkeypatch.setattr(towers, "_BATCH", 24)
    made = trained(*log(), GROUPS * EACH)
    scores = made(np.array([20, 21]), EVERYTHING)
    assert set(np.argsort(-scores)[: EACH // 2] // EACH) == {2}


def test_progress_counts_the_steps() -> None:
    seen: list[tuple[int, int]] = []
    trained(*log(30), GROUPS * EACH, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == len(seen)


def test_whitened_vectors_vary_alike() -> None:
    white = Whitening.of(VECTORS)
    made = white(VECTORS)
    assert made.mean(axis=0) == pytest.approx(np.zeros(24), abs=1e-4)
    spread = made.std(axis=0)
    assert spread.max() < 1.0 and spread[0] > 0.9
    assert white(VECTORS[:3]) == pytest.approx(made[:3], abs=1e-4)


def test_an_item_that_comes_later_is_what_its_text_makes_of_it() -> None:
    """Whether it was there when the towers were trained, and nobody took it, or it was not there at all."""
    late = GROUPS * EACH - EACH  # the first of the last group
    users, items = log(without=frozenset([late]))
    made = trained(users, items, GROUPS * EACH, VECTORS)
    assert made.reading is not None
    vectors, bias = made.reading(VECTORS[late : late + 1])
    assert vectors[0] == pytest.approx(made.items[late], abs=1e-4) and bias[0] == pytest.approx(made.bias[late])
    changed = VECTORS.copy()
    changed[late] += 9  # what nobody took is no part of the training
    assert trained(users, items, GROUPS * EACH, changed).items[:late] == pytest.approx(made.items[:late])
    assert trained(users, items, GROUPS * EACH).reading is None


@pytest.mark.parametrize(("reading", "unknown"), [(False, 0.0), (True, 0.0), (True, 1.0)])
def test_gradients_are_those_of_the_loss(monkeypatch: pytest.MonkeyPatch, reading: bool, unknown: float) -> None:
    """Against finite differences of the cross-entropy, in double precision and without dropout."""
    monkeypatch.setattr(towers, "_DROPOUT", 0.0)
    monkeypatch.setattr(towers, "_UNKNOWN", unknown)
    users, items = log(12)
    training = towers._Training(users, items, GROUPS * EACH, VECTORS if reading else None, 0)
    w = training.weights
    for name in w:
        w[name] = w[name].astype(np.float64) + 0.1 * RNG.normal(size=w[name].shape)
    rows = training.examples[:9]
    before, everything = training._histories(rows), EVERYTHING
    shape = (len(rows), len(everything))
    history = [sparse.csr_matrix((one, before.items, before.ends), shape=shape) for one in before.weights]
    correction, targets = RNG.normal(size=len(everything)), items[rows]

    def loss() -> float:
        vectors, bias = (1 - unknown) * w["ids"], (1 - unknown) * w["bias"]
        if reading:
            hidden = np.maximum(VECTORS @ w["first"], 0)
            vectors, bias = vectors + hidden @ w["second"], bias + hidden @ w["third"]
        means = [one @ vectors for one in history]
        person = means[0] + sum(mean @ layer for mean, layer in zip(means, w["layer"], strict=True))
        logits = person @ vectors.T + bias - correction
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(rows)), targets]))

    found = training._gradients(history, everything, everything, correction, targets)
    assert found.keys() == w.keys()
    for name, weight in w.items():
        for place in RNG.choice(weight.size, 12):
            there = np.unravel_index(place, weight.shape)
            kept, step = weight[there], 1e-5
            sides = []
            for sign in (1, -1):
                weight[there] = kept + sign * step
                sides.append(loss())
            weight[there] = kept
            assert found[name][there] == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=2e-6)


def test_the_last_item_counts_apart_from_the_others() -> None:
    """One thing always follows another: where it is the last, what comes next is known, and not where it was first."""
    rng = np.random.default_rng(5)
    users, items = [], []
    for user in range(400):
        pair = int(rng.integers(10))
        others = (rng.choice(40, 4, replace=False) + 20).tolist()
        users += [user] * 6
        items += [*others, pair, pair + 10]
    made = trained(np.array(users, np.int32), np.array(items, np.int32), 60)
    everything = np.arange(60)
    for pair in range(10):
        last, first = (made(np.array(history), everything) for history in ([20, 21, 22, pair], [pair, 20, 21, 22]))
        assert last.argmax() == pair + 10
        assert last[pair + 10] - last.mean() > 1.5 * (first[pair + 10] - first.mean())


def test_a_kind_of_text_that_many_take_makes_a_new_item_popular() -> None:
    """Nobody knows the new ones, and no history tells of them: only their texts do."""
    users, items = log(without=frozenset({0, EACH}))
    often = np.r_[users, 1000 + np.repeat(np.arange(400), 2)], np.r_[items, RNG.integers(1, EACH, 800)]
    made = trained(*often, GROUPS * EACH, VECTORS)
    liked, other = made(np.array([], np.int32), np.array([0, EACH]))
    assert liked > other


class Stopped(Exception):
    pass


def stop_after(step: int, unfinished: Unfinished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train up to this step, where a state is kept, and stop."""

    def progress(done: int, total: int) -> None:
        if done == step:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "due", lambda self: True)
        with pytest.raises(Stopped):
            trained(*log(), GROUPS * EACH, VECTORS, unfinished=unfinished, progress=progress)


@pytest.mark.parametrize("step", [1, 120])
def test_training_that_was_stopped_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole = trained(*log(), GROUPS * EACH, VECTORS)
    unfinished, steps = Unfinished(tmp_path / "states"), list[int]()
    stop_after(step, unfinished, monkeypatch)
    again = trained(
        *log(), GROUPS * EACH, VECTORS, unfinished=unfinished, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == step + 1
    for one, other in ((whole.items, again.items), (whole.bias, again.bias), (whole.layer, again.layer)):
        np.testing.assert_array_equal(one, other)
    finished = list[int]()
    trained(*log(), GROUPS * EACH, VECTORS, unfinished=unfinished, progress=lambda done, total: finished.append(done))
    assert finished == []  # the whole training was kept
    unfinished.over()
    assert not (tmp_path / "states").exists()


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"no state", lambda data: b""])
def test_a_damaged_state_or_that_of_another_log_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    unfinished = Unfinished(tmp_path)
    stop_after(3, unfinished, monkeypatch)
    (file,) = tmp_path.glob("*.npz")
    other = list[int]()
    trained(*log(120), GROUPS * EACH, VECTORS, unfinished=unfinished, progress=lambda done, total: other.append(done))
    file.write_bytes(damage(file.read_bytes()))
    steps = list[int]()
    trained(*log(), GROUPS * EACH, VECTORS, unfinished=unfinished, progress=lambda done, total: steps.append(done))
    assert other[0] == 1 and steps[0] == 1


def test_where_no_state_can_be_written_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    made = trained(*log(), GROUPS * EACH, VECTORS, unfinished=Unfinished(tmp_path / "file" / "states"))
    np.testing.assert_array_equal(made.items, trained(*log(), GROUPS * EACH, VECTORS).items)
