"""The evidence of a scoring question, what can be left out of it, and its hint."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.recall.candidates import Candidate
from msr_local.recipe.descriptions import tokens
from msr_local.recipe.scoring import Evidence, Part, hint
from msr_local.store.rows import Item

TEXT = st.text(max_size=5)
EVIDENCE = st.builds(Evidence, TEXT, st.lists(TEXT, max_size=6).map(tuple), TEXT, TEXT, TEXT, TEXT)


@given(EVIDENCE, st.data())
def test_leaving_parts_out_removes_these_and_nothing_else(whole: Evidence, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(whole.parts))) if whole.parts else set()
    left = whole.less(gone)
    lines = {part.index for part in gone if part.kind == "history"}
    assert left.history == tuple(line for n, line in enumerate(whole.history) if n not in lines)
    for field in fields(Evidence):
        if field.name != "history":
            out = Part("image" if field.name == "image_sha256" else field.name) in gone
            assert getattr(left, field.name) == ("" if out else getattr(whole, field.name))


@given(EVIDENCE)
def test_every_part_that_is_there_is_named_once(whole: Evidence) -> None:
    there = {"caption": whole.caption, "image": whole.image_sha256, "hint": whole.hint, "summary": whole.summary}
    assert [part.name for part in whole.parts] == [
        *(kind for kind, value in there.items() if value),
        *(f"history:{n}" for n in range(len(whole.history))),
    ]


@given(EVIDENCE)
def test_parts_of_the_candidate_come_before_those_of_the_shared_prefix(whole: Evidence) -> None:
    shared = [part.kind in ("summary", "history") for part in whole.parts]
    assert shared == sorted(shared)


@given(EVIDENCE, EVIDENCE)
def test_only_equal_evidence_has_equal_json(one: Evidence, other: Evidence) -> None:
    assert (one.to_json() == other.to_json()) == (one == other)


def test_a_part_in_a_readers_words() -> None:
    titles = ["Alien", "Aliens"]
    assert Part("history", 1).label(titles) == "Aliens"
    assert Part("history", 1).name == "history:1"
    for kind in ("caption", "image", "hint", "summary"):
        assert Part(kind).name == kind
        assert Part(kind).label(titles)


def candidate(together: float = 0.0, rank: int | None = None, popular: float | None = 1.0) -> Candidate:
    return Candidate("i1", 0.5, {}, "i0", together, rank, popular)


ALIEN = Item("i0", "Alien")


@pytest.mark.parametrize(
    ("together", "word"),
    [
        (1.0, "Very often"),
        (0.4, "Very often"),
        (0.3999, "Often"),
        (0.2, "Often"),
        (0.1999, "Sometimes"),
        (0.05, "Sometimes"),
        (0.0499, None),
        (0.0, None),
    ],
)
def test_a_hint_says_how_often_it_is_taken_with_another(together: float, word: str | None) -> None:
    expected = f" {word} with Alien." if word else ""
    assert hint(candidate(together), ALIEN) == f"Popular: lower half.{expected}"


@pytest.mark.parametrize(
    ("rank", "told"),
    [(1, "top 1."), (2, "top 2."), (4, "top 5."), (8, "top 10."), (1000, "top 1000."), (1001, "below 1000.")],
)
def test_a_hint_says_the_rank_among_all_items(rank: int, told: str) -> None:
    assert hint(candidate(rank=rank), None) == f"Similar people: {told} Popular: lower half."


@pytest.mark.parametrize(
    ("popular", "told"),
    [(None, "New: nobody has chosen it."), (0.001, "Popular: top 1%."), (0.03, "Popular: top 5%."),
     (0.5, "Popular: top 50%."), (0.51, "Popular: lower half.")],
)  # fmt: skip
def test_a_hint_says_how_popular_it_is(popular: float | None, told: str) -> None:
    assert hint(candidate(popular=popular), None) == told


def test_a_long_title_in_a_hint_is_cut() -> None:
    assert tokens(hint(candidate(1.0), Item("i0", "very long title " * 300))) < 20
