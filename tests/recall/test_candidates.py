"""Recall: the blend of cheap scores, against a slow reference, planted patterns and real data."""

from __future__ import annotations

import csv
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, groupby, product
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from msr_local.recall.candidates import WEIGHTS, Candidate, Recall

Logs = list[list[int]]  # a list of items a user


def recall_of(logs: Logs, texts: Sequence[str]) -> Recall:
    users = [user for user, log in enumerate(logs) for _ in log]
    items = [item for log in logs for item in log]
    ids = [f"i{n}" for n in range(len(texts))]
    return Recall(ids, np.array(users, dtype=np.int32), np.array(items, dtype=np.int32), texts)


def names(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.item_id for candidate in candidates]


# ---- a slow reference: the formulas of the module's docstring, one item at a time


def reference(logs: Logs, texts: Sequence[str], history: Sequence[int], item: int) -> dict[str, float]:
    """{source: weighted score} of `item`."""
    size = range(len(texts))
    takers = [{user for user, log in enumerate(logs) if i in log} for i in size]
    recent = history[-50:]
    decay = [0.85**age for age in range(len(recent) - 1, -1, -1)]

    follows: Counter[tuple[int, int]] = Counter()
    for log in logs:
        for place, first in enumerate(log):
            for distance, then in enumerate(log[place + 1 : place + 4], start=1):
                follows[first, then] += 1 / distance

    vectors = tf_idf(texts)
    profile: Counter[str] = Counter()
    for weight, one in zip(decay, recent, strict=True):
        for word, value in vectors[one].items():
            profile[word] += weight * value

    def markov(i: int) -> float:
        steps = (
            weight * follows[one, i] / math.sqrt(len(takers[one]) + 3)
            for weight, one in zip(decay, recent, strict=True)
        )
        return sum(steps) / math.sqrt(len(takers[i]) + 3)

    sources = {
        "markov": [markov(i) for i in size],
        "item_knn": [
            sum(weight * cosine(takers, one, i) for weight, one in zip(decay, recent, strict=True)) for i in size
        ],
        "popularity": [math.log1p(len(takers[i])) for i in size],
        "text": [sum(profile[word] * value for word, value in vectors[i].items()) for i in size],
        "words": [math.log1p(value) for value in word_lift(texts, history)],
    }
    alive = {name: max(values) for name, values in sources.items() if max(values) > 0}
    total = sum(WEIGHTS[name] for name in alive)
    parts = [
        {
            name: WEIGHTS[name] / total * values[i] / alive[name] if name in alive else 0.0
            for name, values in sources.items()
        }
        for i in size
    ]
    if not takers[item] and alive.keys() & {"text", "words"}:
        bags = shared_words(texts)
        alike = {i: len(bags[item] & bags[i]) ** 2 / max(1, len(bags[item]) * len(bags[i])) for i in size if takers[i]}
        told = sum(alike[i] * (sum(parts[i].values()) - parts[i]["text"] - parts[i]["words"]) for i in alike)
        parts[item]["text"] += told / (sum(alike.values()) or 1.0)
    return parts[item]


def shared_words(texts: Sequence[str]) -> list[set[str]]:
    """The words of each text that another text has, too, but not every text."""
    said = [{*re.findall(r"\w+", text.lower())} for text in texts]
    return [{word for word in one if 1 < sum(word in other for other in said) < len(said)} for one in said]


def cosine(takers: Sequence[set[int]], a: int, b: int) -> float:
    both = len(takers[a] & takers[b])
    if a == b or not both:
        return 0.0
    return both / math.sqrt(len(takers[a]) * len(takers[b])) * both / (both + 5)


def word_lift(texts: Sequence[str], history: Sequence[int]) -> list[float]:
    """Of each item, over all guesses at what the person is after: how likely the guess, times its lift of the item."""
    said = [frozenset(re.findall(r"\w+", text.lower())) for text in texts]
    words = [w for w in sorted({*chain(*said)}) if 1 < sum(w in one for one in said) < len(texts)]
    recent = history[-20:]
    weights = [0.5 ** (age / 4) for age in range(len(recent) - 1, -1, -1)]
    likely, lifts = {}, {}
    for guess in {frozenset(pair) for pair in product(words, words)}:
        share = sum(guess <= one for one in said) / len(said)
        if any(guess <= said[item] for item in recent):
            lifts[guess] = 0.5 / share
            likely[guess] = math.prod(
                (0.5 + 0.5 / share if guess <= said[item] else 0.5) ** weight
                for weight, item in zip(weights, recent, strict=True)
            )
    total = 1 + sum(likely.values())
    return [sum(likely[g] / total * lifts[g] for g in likely if g <= one) for one in said]


def tf_idf(texts: Sequence[str]) -> list[dict[str, float]]:
    counts = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    spread = Counter(word for count in counts for word in count)
    vectors = []
    for count in counts:
        raw = {w: (1 + math.log(n)) * math.log(len(texts) / spread[w]) for w, n in count.items() if spread[w] > 1}
        length = math.sqrt(sum(value * value for value in raw.values()))
        vectors.append({word: value / length for word, value in raw.items()} if length > 0 else {})
    return vectors


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Logs, list[str], list[int]]:
    size = draw(st.integers(1, 8))
    item = st.integers(0, size - 1)
    logs = draw(st.lists(st.lists(item, min_size=1, max_size=12), max_size=8))
    words = st.lists(st.sampled_from(["red", "Blue", "green", "RED", "7", "été", "-"]), max_size=5).map(" ".join)
    return logs, draw(st.lists(words, min_size=size, max_size=size)), draw(st.lists(item, max_size=10))


@settings(max_examples=60)
@given(worlds())
@example(([[0]], ["red Blue", "red", "red Blue"], [0]))  # a word that is in all texts
def test_recall_equals_the_slow_reference(world: tuple[Logs, list[str], list[int]]) -> None:
    logs, texts, history = world
    recall = recall_of(logs, texts)
    takers = [{user for user, log in enumerate(logs) if i in log} for i in range(len(texts))]
    for item in range(len(texts)):
        made = recall.candidate([f"i{n}" for n in history], f"i{item}")
        parts = reference(logs, texts, history, item)
        assert made.recall == pytest.approx(sum(parts.values()), abs=1e-12)
        if made.recall > 0:
            assert {n: s * made.recall for n, s in made.shares.items()} == pytest.approx(parts, abs=1e-12)
        strongest = max((cosine(takers, one, item) for one in history), default=0.0)
        if made.companion is None:
            # Nobody, or one person only, took both: that is no evidence to put into words.
            assert made.together == 0
            rivals = [one for one in history if cosine(takers, one, item) == pytest.approx(strongest, abs=1e-12)]
            assert strongest == 0 or any(len(takers[one] & takers[item]) < 2 for one in rivals)
        else:
            chosen = int(made.companion.removeprefix("i"))
            assert chosen in history
            assert cosine(takers, chosen, item) == pytest.approx(strongest, abs=1e-12)
            assert made.together == len(takers[chosen] & takers[item]) / (len(takers[chosen]) + 2)


@settings(max_examples=60)
@given(worlds(), st.integers(0, 10), st.sets(st.integers(0, 9)))
def test_candidates_are_new_ranked_and_the_same_as_candidate(
    world: tuple[Logs, list[str], list[int]], count: int, excluded: set[int]
) -> None:
    logs, texts, numbers = world
    recall = recall_of(logs, texts)
    history, exclude = [f"i{n}" for n in numbers], {f"i{n}" for n in excluded}
    made = recall.candidates(history, count, exclude=exclude)
    free = set(recall.item_ids) - set(history) - exclude
    assert len(made) == min(count, len(free)) == len(set(names(made)))
    assert set(names(made)) <= free
    assert [one.recall for one in made] == sorted((one.recall for one in made), reverse=True)
    for one in made:
        assert one == recall.candidate(history, one.item_id)
        assert sum(one.shares.values()) == pytest.approx(1)
        assert all(share >= 0 for share in one.shares.values())
        assert set(one.shares) == set(WEIGHTS)
        assert 0 <= one.recall <= 1 + 1e-12
        assert 0 <= one.together < 1
        assert (one.companion is None) == (one.together == 0)


@settings(max_examples=60)
@given(worlds())
def test_the_best_few_are_the_head_of_the_whole_ranking(world: tuple[Logs, list[str], list[int]]) -> None:
    logs, texts, numbers = world
    recall, history = recall_of(logs, texts), [f"i{n}" for n in numbers]
    assert recall.candidates(history, 3) == recall.candidates(history, len(texts))[:3]


# ---- planted patterns

NOISE = [[10 + (7 * user + 3 * step) % 20 for step in range(5)] for user in range(30)]
PLAIN = [f"thing{n}" for n in range(30)]  # no word in common


def test_of_an_item_that_very_many_took_a_lot_of_people_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 people took item 0, 300 of them item 1 and 100 item 2: a lot of 200 tells nearly the same."""
    logs = [[0, *([1] if user % 10 < 3 else []), *([2] if user % 10 == 5 else [])] for user in range(1000)]
    everybody = recall_of(logs, ["a", "b", "c"])
    exact = everybody.candidates(["i0"], 2)
    monkeypatch.setattr("msr_local.recall.candidates._PEOPLE", 200)
    lot = everybody.candidates(["i0"], 2)
    assert names(lot) == names(exact) == ["i1", "i2"] and lot == everybody.candidates(["i0"], 2)
    assert [one.together for one in lot] == [one.together for one in exact]  # counted over all
    knn = [[one.recall * one.shares["item_knn"] for one in some] for some in (lot, exact)]
    assert knn[0] == pytest.approx(knn[1], rel=0.35) and knn[0] != knn[1]


def test_one_witness_out_of_a_lot_of_people_is_one_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 500 rare items was taken once, by somebody who took item 0 as 1,000 did; item 1 by 200 of them."""
    logs = [[0, *([1] if user % 5 == 0 else []), *([2 + user // 2] if user % 2 else [])] for user in range(1000)]
    recall = recall_of(logs, ["a"] * 502)
    monkeypatch.setattr("msr_local.recall.candidates._PEOPLE", 100)
    first, *others = recall.candidates(["i0"], 9)
    assert first.item_id == "i1"
    knn = [one.recall * one.shares["item_knn"] for one in (first, *others)]
    assert max(knn[1:]) < 0.4 * knn[0]


def test_items_that_the_same_people_took_find_each_other() -> None:
    recall = recall_of([[1, *log, 0] for log in NOISE] + NOISE, PLAIN)  # nothing ever follows i0
    found, *_ = recall.candidates(["i0"], 29)
    assert found.item_id == "i1"
    assert found.companion == "i0"
    assert found.together == 30 / 32  # all of them, and two more to be careful
    assert found.shares["item_knn"] > found.shares["popularity"] > found.shares["markov"] == 0


def test_what_always_comes_next_is_the_first_candidate() -> None:
    sequence = [[*log[:2], 0, 1, *log[2:]] for log in NOISE]
    assert names(recall_of(sequence, PLAIN).candidates(["i0"], 1)) == ["i1"]


def test_the_order_of_a_planted_sequence_matters() -> None:
    recall = recall_of([[0, 1, 2]] * 20 + NOISE, PLAIN)
    assert names(recall.candidates(["i1"], 1)) == ["i2"]
    assert recall.candidate(["i1"], "i2").shares["markov"] > 0
    assert recall.candidate(["i1"], "i0").shares["markov"] == 0


def test_the_latest_item_counts_more_than_an_early_one() -> None:
    logs = [[0, 1]] * 10 + [[2, 3]] * 10
    recall = recall_of(logs, PLAIN[:4])
    assert names(recall.candidates(["i0", "i2"], 1)) == ["i3"]
    assert names(recall.candidates(["i2", "i0"], 1)) == ["i1"]


def test_a_new_item_that_nobody_took_is_reached_by_its_text() -> None:
    texts = [f"plain thing {n}" for n in range(28)] + ["space opera saga", "saga of the space opera"]
    recall = recall_of([[0]] * 20 + [[n] for n in range(29)], texts)
    assert names(recall.candidates(["i28"], 2)) == ["i29", "i0"]  # before the one hit
    shares = recall.candidate(["i28"], "i29").shares
    assert shares["text"] + shares["words"] == 1 and min(shares["text"], shares["words"]) > 0


def test_one_user_who_repeats_an_item_is_one_user() -> None:
    recall = recall_of([[0, 0, 0, 0], [1], [1]], PLAIN[:2])
    assert recall.count.tolist() == [1, 2]


def test_pairs_across_two_users_are_no_sequence() -> None:
    recall = recall_of([[0], [1], [2]], PLAIN[:3])
    assert recall.candidate(["i0"], "i1").shares["markov"] == 0


# ---- edges


def test_what_nobody_has_taken_yet_stands_among_what_reads_alike() -> None:
    """It is neither held for something that nobody wants, nor put before all that people take."""
    lot = random.Random(1)
    kinds = ["red shoe", "blue cup", "green lamp", "grey sofa"]
    texts = [f"{kinds[n // 10]} {n}" for n in range(40)]
    new = {9, 19, 29, 39}  # one of each kind
    logs = [lot.sample([n for n in range(kind, kind + 10) if n not in new], 6) for kind in (0, 10, 20, 30) * 12]
    recall = recall_of(logs, texts)
    for log in logs[:8]:
        kind = log[0] // 10
        found = names(recall.candidates([f"i{n}" for n in log[:4]], 40))
        own = [name for name in found if int(name[1:]) // 10 == kind]
        fresh = f"i{kind * 10 + 9}"
        assert found.index(fresh) < 10 and fresh != own[0]
        made = recall.candidate([f"i{n}" for n in log[:4]], fresh)
        assert made.popular is None and made.companion is None
        assert {name for name, share in made.shares.items() if share} <= {"text", "words"}  # no taker stands for it


def test_what_nobody_takes_changes_nothing_for_what_is_taken() -> None:
    logs, texts = [[0, 1, 2], [0, 2, 1], [1, 2]], ["red shoe", "red cup", "blue cup", "red hat"]
    whole, less = recall_of(logs, texts), recall_of(logs, [*texts[:3], "other words"])
    for item in ("i1", "i2"):
        for name in ("markov", "item_knn", "popularity"):
            one, other = (made.candidate(["i0"], item) for made in (whole, less))
            assert one.recall * one.shares[name] == pytest.approx(other.recall * other.shares[name])


def test_an_empty_history_is_answered_by_popularity_alone() -> None:
    made = recall_of(NOISE, PLAIN).candidates([], 5)
    assert all(one.shares == {name: name == "popularity" for name in WEIGHTS} for one in made)
    assert made[0].recall == pytest.approx(1)
    assert made[0].companion is None


def test_a_history_of_items_that_left_the_catalogue_is_an_empty_one() -> None:
    recall = recall_of(NOISE, PLAIN)
    assert recall.candidates(["gone", "too"], 5, exclude=["nor this"]) == recall.candidates([], 5)


def test_without_any_interaction_the_catalogue_comes_in_its_own_order() -> None:
    made = recall_of([], PLAIN).candidates([], 3)
    assert names(made) == ["i0", "i1", "i2"]
    assert [one.recall for one in made] == [0, 0, 0]
    assert sum(made[0].shares.values()) == pytest.approx(1)


def test_without_any_interaction_a_history_still_finds_similar_texts() -> None:
    recall = recall_of([], ["a red car", "a blue boat", "red car, new", "boat"])
    assert names(recall.candidates(["i0"], 1)) == ["i2"]


def test_a_catalogue_of_one_item() -> None:
    recall = recall_of([[0]], ["only"])
    assert names(recall.candidates([], 10)) == ["i0"]
    assert recall.candidates(["i0"], 10) == []


def test_an_empty_catalogue_has_no_candidates() -> None:
    recall = Recall([], np.zeros(0, np.int32), np.zeros(0, np.int32), [])
    assert recall.candidates([], 10) == []


def test_an_item_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        recall_of(NOISE, PLAIN).candidate([], "nowhere")


# ---- real data


def test_on_movielens_a_third_of_the_held_out_films_are_among_a_hundred(shared: Path) -> None:
    folder = shared / "movielens-small"
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as file:
        films = {row["movieId"]: f"{row['title']} {row['genres']}" for row in csv.DictReader(file)}
    position = {film: index for index, film in enumerate(films)}
    with (folder / "ratings.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row[0], int(row[3]), position[row[1]]) for row in list(csv.reader(file))[1:] if float(row[2]) >= 4]
    logs = [[film for *_, film in steps] for _, steps in groupby(sorted(rows), itemgetter(0))]
    recall = recall_of([log[:-1] if len(log) >= 6 else log for log in logs], list(films.values()))
    asked = [log for log in logs if len(log) >= 6][::6]  # 0.38 over all 599: a sixth saves time
    hits = sum(f"i{log[-1]}" in names(recall.candidates([f"i{n}" for n in log[:-1]], 100)) for log in asked)
    assert len(asked) == 100
    assert hits / len(asked) >= 0.33
