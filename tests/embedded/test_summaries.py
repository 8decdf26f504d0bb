"""The rule that writes target summaries, and the questions that the summariser is trained on."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded import drift, summary_rows
from embedded.domains import DOMAINS, HELD_OUT, TRAINED, catalogue
from embedded.shoppers import People, simulate
from embedded.summaries import (
    FADED,
    FIRST,
    LATER,
    NOW,
    STILL,
    State,
    after,
    named,
    parse,
    plural,
    said,
    shows,
    text,
)  # fmt: skip
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Text
from msr_local.models import embedded

WORDS = "drama crime sci-fi T-shirts women's red striped film-noir IMAX board_game Thai velmor".replace(
    "_", " "
).split()
ADJECTIVES = frozenset(["red", "striped", "women's", "Thai"])
terms = st.sampled_from(WORDS)
items = st.lists(terms, min_size=1, max_size=4)
blocks = st.lists(items, min_size=1, max_size=5)
histories = st.lists(blocks, min_size=1, max_size=6)
seeds = st.integers(0, 1 << 30)


def states(history: list[list[list[str]]]) -> list[State]:
    made = [State()]
    for block in history:
        made.append(after(made[-1], block))
    return made[1:]


@given(histories)
def test_only_what_the_block_or_the_summary_before_has_is_named(history: list[list[list[str]]]) -> None:
    before = State()
    for block, state in zip(history, states(history), strict=True):
        assert set(state.terms) <= {*before.terms, *(term for item in block for term in item)}
        before = state


@given(histories)
def test_a_term_is_named_once_and_the_lists_are_short(history: list[list[list[str]]]) -> None:
    for state in states(history):
        assert len(set(state.terms)) == len(state.terms)
        assert 1 <= len(state.now) <= NOW and len(state.still) <= STILL and len(state.faded) <= FADED


@given(histories)
def test_what_comes_first_is_in_the_block_and_what_has_faded_is_not(history: list[list[list[str]]]) -> None:
    for block, state in zip(history, states(history), strict=True):
        there = {term for item in block for term in item}
        assert set(state.now) <= there
        assert not set(state.faded) & there


@given(histories)
def test_the_most_frequent_comes_first_and_among_equals_what_is_new(history: list[list[list[str]]]) -> None:
    before = State()
    for block, state in zip(history, states(history), strict=True):
        counts = Counter(term for item in block for term in set(item))
        if max(counts.values()) > 1:
            known = {*before.now, *before.still}
            ranks = [(-counts[term], term in known) for term in state.now]
            assert ranks == sorted(ranks)
            assert counts[state.now[0]] == max(counts.values())
        before = state


def test_what_is_no_longer_chosen_goes_down_step_by_step() -> None:
    crime, drama = [["crime"], ["crime"], ["war"]], [["drama"], ["drama"], ["drama", "war"]]
    first, second, third, fourth = states([crime, drama, drama, drama])
    assert first == State(("crime",))
    assert second == State(("drama",), ("crime",))
    assert third == State(("drama",), (), ("crime",))
    assert fourth == State(("drama",))


def test_what_comes_back_is_wanted_again() -> None:
    before = State(("drama",), (), ("crime",))
    assert after(before, [["crime"], ["crime"]]) == State(("crime",), ("drama",))


def test_where_nothing_is_repeated_what_was_known_comes_first() -> None:
    before = State(("drama",), ("war",))
    assert after(before, [["crime"], ["sport"], ["war"]]) == State(("war", "crime"), ("drama",))


def test_a_block_that_shows_nothing_changes_nothing() -> None:
    before = State(("drama",), ("war",), ("crime",))
    assert after(before, [[], []]) == before


@given(histories, seeds, st.sampled_from([FIRST, LATER]))
def test_the_text_says_the_whole_state(history: list[list[list[str]]], seed: int, opening: str) -> None:
    for state in states(history):
        for wording in (None, random.Random(seed)):
            written = text(state, opening, wording, ADJECTIVES)
            assert written.startswith(opening + " ") and written.endswith(".")
            assert parse(written) == state


@given(histories, seeds)
def test_the_wording_depends_on_the_seed_alone(history: list[list[list[str]]], seed: int) -> None:
    state = states(history)[-1]
    assert text(state, LATER, random.Random(seed)) == text(state, LATER, random.Random(seed))


@given(histories)
def test_all_terms_are_found_in_the_text_in_their_order(history: list[list[list[str]]]) -> None:
    for state in states(history):
        assert named(text(state, LATER, None, ADJECTIVES), WORDS) == list(state.terms)


def test_the_usual_words() -> None:
    state = State(("striped", "T-shirts"), ("red",), ("crime", "drama"))
    assert text(state, LATER, None, ADJECTIVES) == (
        "This person now likes striped and T-shirts, and still some red things; less crime and drama than before."
    )


def test_other_sentences_say_no_state() -> None:
    assert parse("This person likes to write about technology; and so on") is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [("Drama", "drama"), ("Sci-Fi", "sci-fi"), ("IMAX", "IMAX"), ("T-shirt", "T-shirt"), ("Thai", "Thai"),
     ("Casual Shoes", "casual shoes"), ("Rosé", "rosé"), ("Tshirts", "tshirts")],
)  # fmt: skip
def test_words_of_a_catalogue_in_a_summary(word: str, expected: str) -> None:
    assert said(word) == expected
    assert shows(f"Title. Kind: {word}.", expected)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("T-shirt", "T-shirts"), ("dress", "dresses"), ("trousers", "trousers"), ("wristwatch", "wristwatches"),
     ("strawberry", "strawberries"), ("tomato", "tomatoes")],
)  # fmt: skip
def test_plurals_are_found_in_what_speaks_of_one(kind: str, expected: str) -> None:
    assert plural(kind) == expected
    assert shows(f"Title. Picture: A red {kind}.", expected)
    assert named(f"This person likes {expected}.", [expected, "red"]) == [expected]


def test_longer_terms_are_not_taken_for_shorter_ones() -> None:
    assert named("This person likes film-noir and casual shoes.", ["noir", "shoes", "film-noir", "casual shoes"]) == [
        "film-noir", "casual shoes",
    ]  # fmt: skip


# ---- people and rows


@pytest.mark.parametrize("name", DOMAINS)
def test_invented_catalogues_show_their_terms(name: str) -> None:
    shop = catalogue(name, random.Random(name))
    for thing in shop.things:
        shown = summary_rows.describe(thing.item, thing.caption)
        assert summary_rows.visible(thing, shown) == list(thing.terms)
        assert not any(" and " in term or "," in term for term in thing.terms)


def test_some_domains_are_never_trained_on() -> None:
    assert set(TRAINED).isdisjoint(HELD_OUT) and {*TRAINED, *HELD_OUT} == set(DOMAINS)


def test_a_simulated_taste_is_followed() -> None:
    history = simulate(catalogue("books", random.Random(1)), "one", random.Random(2), [6, 6], noise=0.0)
    old, new = history.phases
    assert (old.start, new.start) == (0, 6)
    assert all(set(old.terms) <= set(thing.terms) for thing in history.steps[:6])
    assert all(set(new.terms) <= set(thing.terms) for thing in history.steps[6:])
    assert not set(old.terms) & set(new.terms)


def everybody(shared: Path, measured: bool) -> People:
    return People(shared, 3, measured=measured)


def test_examples_follow_the_rule(shared: Path) -> None:
    made = list(summary_rows.examples(everybody(shared, False), 60, 5))
    assert {"invented", "drawn", "fashion"} <= {one.source for one in made}
    for one in made:
        state = parse(one.target)
        assert state is not None
        assert all(shows(" ".join(one.told), term) for term in state.now)
        assert all(one.before and shows(one.before, term) for term in (*state.still, *state.faded))


def test_the_same_seed_gives_the_same_examples(shared: Path) -> None:
    once, again = (list(summary_rows.examples(everybody(shared, False), 20, 5)) for _ in range(2))
    assert once == again


def test_nobody_is_both_trained_on_and_measured(shared: Path) -> None:
    def real(measured: bool) -> set[str]:
        made = summary_rows.examples(everybody(shared, measured), 300, 5)
        return {one.user for one in made if not one.user.startswith(("films-", "drawn-", "fashion-", "invented-"))}

    assert real(True) and real(True).isdisjoint(real(False))


def test_tokens_are_those_of_the_question_and_of_the_whole_answer(tmp_path: Path) -> None:
    rng = random.Random(8)
    with EngineProcess(EngineConfig(embedded.prepare(), threads=1)) as engine:
        asking = summary_rows.Asking()
        rows = []
        for name in ("books", "wines", "clothes"):
            history = simulate(catalogue(name, rng), name, rng, [5, 5])
            made = summary_rows.example(history, rng)
            assert made is not None
            question = asking.question(made.before, made.told)
            row = summary_rows.row(engine, asking, made)
            asked = engine.rendered(question)
            parts = [*asked.prefix, *asked.suffix]
            assert list(row.prompt) == engine.token_ids(parts)
            assert engine.fits(question, len(row.prompt)) and not engine.fits(question, len(row.prompt) - 1)
            # What the engine would have to say, token by token, after the opening.
            whole = engine.token_ids([Text(made.target)])
            opening = engine.token_ids([Text(question.opening)])
            assert opening == list(row.prompt[-len(opening) :])
            assert [*opening, *row.completion[:-1]] == whole
            assert [row.completion[-1]] == engine.token_ids([Text(engine.facts.eos, special=True)])
            rows.append(row)
    summary_rows.save(tmp_path / "rows.jsonl", rows)
    assert summary_rows.read(tmp_path / "rows.jsonl") == rows


# ---- measuring


def test_the_rule_itself_measures_perfect() -> None:
    rng = random.Random(4)
    lengths = [drift.BEFORE * drift.SIZE, drift.SINCE * drift.SIZE]
    people = [simulate(catalogue(name, rng), name, rng, lengths, noise=0.0) for name in TRAINED]
    found = drift.measures(drift.chains(people, drift.by_rule()))
    for name, wanted in {
        "new taste named within two blocks": 1.0,
        "faded taste not first after two blocks": 1.0,
        "summaries that name what is nowhere": 0.0,
        "summaries with exactly the rule's terms": 1.0,
    }.items():
        assert set(found[name]) == {wanted}, name


def test_a_writer_that_only_repeats_itself_measures_badly() -> None:
    rng = random.Random(4)
    people = [
        simulate(catalogue(name, rng), name, rng, [drift.BEFORE * drift.SIZE, drift.SINCE * drift.SIZE], noise=0.0)
        for name in TRAINED
    ]
    found = drift.measures(
        drift.chains(
            people,
            lambda asked: [before or f"{FIRST} {one.phases[0].terms[0]}." for one, before, _, _ in asked],
        )
    )
    assert set(found["new taste named within two blocks"]) == {0.0}
    assert set(found["faded taste not first after two blocks"]) == {0.0}
    assert set(found["summaries copied whole"]) == {1.0}
