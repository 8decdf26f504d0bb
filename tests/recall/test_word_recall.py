"""What the latest items have in common, in words: on the drawn shop, whose truth is known, and on planted patterns."""

from __future__ import annotations

import numpy as np
import pytest

from msr_local.demo.catalogue import products
from msr_local.demo.users import Shopper, matches, shoppers
from msr_local.recall.candidates import Recall

NOTHING = np.zeros(0, np.int32)
LOOKS = [one.look for one in products()]
TEXTS = [f"{one.title} {one.category} A {one.look.colour} {one.look.pattern} {one.look.object}." for one in products()]
NUMBER = {one.item_id: number for number, one in enumerate(products())}


def reading(texts: list[str]) -> Recall:
    """A recall that knows texts and nobody's interactions."""
    return Recall([str(n) for n in range(len(texts))], NOTHING, NOTHING, texts)


def scores(recall: Recall, source: str, history: list[int]) -> np.ndarray:
    everything = np.arange(len(recall.item_ids), dtype=np.int32)
    found = recall.features(np.array(history, np.int32), everything)[source]
    found[history] = -np.inf
    return found


def ranked(source: str, people: list[Shopper]) -> tuple[float, float]:
    """How often the last purchase is among the best ten of all, and the share of these that fit the present taste."""
    recall, hits, fits = reading(TEXTS), [], []
    for one in people:
        *before, last = (NUMBER[item] for item, _ in one.history)
        best = np.argsort(-scores(recall, source, before), kind="stable")[:10]
        hits.append(last in best)
        fits.append(np.mean([matches(one.tastes[-1], LOOKS[item]) for item in best]))
    return float(np.mean(hits)), float(np.mean(fits))


def test_in_the_drawn_shop_words_find_the_present_taste() -> None:
    """Of the shoppers on whom nothing was chosen; 5.5 of the best ten could fit, since the others are bought."""
    people = [one for one in shoppers() if not one.training]
    hits, fits = ranked("words", people)
    similar, alike = ranked("text", people)
    assert hits >= 0.6 > 0.35 >= similar
    assert fits >= 0.3 > 0.2 >= alike


def test_two_words_together_are_more_than_each() -> None:
    colours, patterns = ("red", "blue", "green"), ("floral", "plain", "dotted")
    texts = [f"{colour} {pattern} {n}" for colour in colours for pattern in patterns for n in range(4)]
    found = scores(reading(texts), "words", [0, 1, 2])  # red floral things
    assert found.argmax() == 3
    assert min(found[4:12]) > 0 and min(found[4:12]) > max(found[16:24])  # red, and neither red nor floral


def test_a_change_of_taste_is_followed() -> None:
    texts = [f"{colour} thing {n}" for colour in ("navy", "red") for n in range(10)]
    recall = reading(texts)
    before, after = scores(recall, "words", [*range(8)]), scores(recall, "words", [*range(8), 10, 11, 12, 13])
    assert before[8] > before[19] and after[19] > after[8]


def test_what_one_item_says_counts_less_than_what_several_share() -> None:
    texts = ["red acme shoe", "red corvo hat", "red dalby sock", "red other tie", "blue acme belt", "blue corvo bag"]
    texts += [f"green thing{n}" for n in range(12)] + ["red last scarf"]
    found = scores(reading(texts), "words", [0, 1, 2])
    assert found[[3, 18]].min() > found[[4, 5]].max() > 0


@pytest.mark.parametrize(
    "texts",
    [["a b", "a b", "a b"], ["", "", ""], ["one", "two", "three"], ["red", "blue blue", "blue"]],
    ids=["all say the same", "no words", "none shared", "none of the history's"],
)
def test_where_words_say_nothing_they_drop_out(texts: list[str]) -> None:
    recall = reading(texts)
    assert not scores(recall, "words", [0])[1:].any()
    assert recall.candidate(["0"], "1").shares["words"] in (0.0, 0.2)  # a fifth each where no source knows anything


def test_of_a_long_history_and_many_words_the_latest_count() -> None:
    lot = np.random.default_rng(0)
    texts = [
        " ".join(f"w{word}" for word in lot.integers(0, 400, 30)) + (" rare" if n >= 195 else "") for n in range(200)
    ]
    found = scores(reading(texts), "words", [*range(100, 198)])
    assert np.isfinite(found).sum() == 102 and set(np.argsort(-found)[:2]) == {198, 199}
