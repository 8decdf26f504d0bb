"""Descriptions of items: what stays, what is cut, and what never gets through."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.recipe.descriptions import attribute_values, describe, shorten
from msr_local.store.rows import Item
from msr_local.text import printable

WILD = st.builds(lambda text, times: text * times, st.text(max_size=60), st.integers(1, 12))
SCALARS = st.one_of(WILD, st.integers(), st.floats(), st.booleans(), st.none())
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=5))
ITEMS = st.builds(Item, st.just("i"), WILD, st.dictionaries(st.text(max_size=60), VALUES, max_size=8))
CAPTIONS = st.one_of(st.none(), WILD)
ROOMS = st.integers(20, 700)


@given(ITEMS, CAPTIONS, ROOMS)
def test_a_description_takes_about_the_room_it_is_given(item: Item, caption: str | None, room: int) -> None:
    """The picture gets 20 characters beside the longest title; joints and full stops add 3."""
    title = shorten(printable(item.title), min(160, room))
    assert len(describe(item, caption, room)) <= max(room, len(title) + 20) + 3


@given(ITEMS, CAPTIONS, ROOMS)
def test_the_title_is_always_there(item: Item, caption: str | None, room: int) -> None:
    title = printable(item.title)
    told = describe(item, caption, room)
    if len(title) <= min(160, room):
        assert told.startswith(title)
    else:
        assert told.startswith(shorten(title, min(160, room)))


@given(ITEMS, CAPTIONS, ROOMS)
def test_a_description_is_one_line_without_control_characters(item: Item, caption: str | None, room: int) -> None:
    told = describe(item, caption, room)
    assert not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in told)
    assert told == told.strip()
    assert len(told.splitlines()) <= 1


@given(ITEMS, CAPTIONS)
def test_attributes_keep_the_order_of_the_file(item: Item, caption: str | None) -> None:
    numbered = Item("i", "T", {f"a{n}": f"v{n}" for n in range(len(item.attributes))})
    told = describe(numbered, caption)
    places = [told.find(f"A{n}: v{n}") for n in range(len(item.attributes))]
    shown = [place for place in places if place >= 0]
    assert shown == sorted(shown)


def test_title_attributes_and_picture_are_sentences() -> None:
    item = Item("i", "Alien", {"release_year": 1979, "genres": "Horror|Sci-Fi", "stars": ["Weaver", "Hurt"]})
    assert describe(item, "A dark egg, glowing.") == (
        "Alien. Release year: 1979. Genres: Horror, Sci-Fi. Stars: Weaver, Hurt. Picture: A dark egg, glowing."
    )


@pytest.mark.parametrize("title", ["Who?", "Help!", "End.", "And…"])
def test_a_title_that_ends_a_sentence_gets_no_second_full_stop(title: str) -> None:
    assert describe(Item("i", title, {"year": 1999})) == f"{title} Year: 1999."


def test_three_hundred_attributes_do_not_flood_a_prompt() -> None:
    item = Item("i", "Thing", {f"column_{n}": f"value {n}" for n in range(300)})
    told = describe(item, "A thing.")
    assert len(told) <= 643
    assert told.startswith("Thing. Column 0: value 0. Column 1: value 1. ")
    assert told.endswith(" Picture: A thing.")
    assert "value 15" in told


def test_the_picture_goes_before_attributes_when_room_is_short() -> None:
    item = Item("i", "Alien", {"genres": "Horror"})
    assert describe(item, "A dark egg.", room=30) == "Alien. Picture: A dark egg."


def test_a_long_attribute_is_cut_and_marked() -> None:
    told = describe(Item("i", "T", {"plot": "word " * 100, "year": 1}))
    assert "word… Year: 1." in told
    assert len(told) < 200


def test_links_and_empty_values_are_left_out() -> None:
    attributes = {
        "poster": "https://x.org/a.jpg",
        "empty": "",
        "none": [],
        "bars": "||",
        "genres": "(no genres listed)",
    }
    assert describe(Item("i", "T", attributes)) == "T."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a|b | c", ["a", "b", "c"]),
        (["a|b", "c"], ["a|b", "c"]),
        (7, ["7"]),
        (["x\ny", "", " \t"], ["x y"]),
        ("\x1b[31mred", ["[31mred"]),
        ("", []),
    ],
)
def test_the_values_of_an_attribute(value: Any, shown: list[str]) -> None:
    assert attribute_values(value) == shown


# ---- shorten


@given(WILD, st.integers(1, 500))
def test_shorten_keeps_a_head_of_the_text_within_the_room(text: str, room: int) -> None:
    made = shorten(text, room)
    assert len(made) <= room
    if len(text) <= room:
        assert made == text
    else:
        assert made.endswith("…")
        assert text.startswith(made[:-1])


@given(st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=60).map(" ".join), st.integers(20, 200))
def test_shorten_cuts_between_words(text: str, room: int) -> None:
    words = text.split()
    kept = shorten(text, room).removesuffix("…").split()
    assert kept == words[: len(kept)]


@given(st.text("漢字", min_size=30), st.integers(2, 25))
def test_shorten_fills_the_room_where_there_are_no_blanks(text: str, room: int) -> None:
    assert shorten(text, room) == text[: room - 1] + "…"


@pytest.mark.parametrize(
    ("text", "room", "made"),
    [
        ("one two three", 13, "one two three"),
        ("one two three", 12, "one two…"),
        ("one two, three", 10, "one two…"),
        ("abcdefghij k", 8, "abcdefg…"),
        ("a bcdefghijkl", 10, "a bcdefgh…"),  # a cut in the first half would lose too much
    ],
)
def test_examples_of_shortened_text(text: str, room: int, made: str) -> None:
    assert shorten(text, room) == made
