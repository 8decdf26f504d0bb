"""Descriptions of items: what stays, what is cut, and what never gets through."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from msr_local.recipe.descriptions import Descriptions, choose, describe, heading, shorten, tokens
from msr_local.store import catalogue
from msr_local.store.rows import Item, ItemRow
from msr_local.store.workspace import Workspace
from msr_local.values import words

WILD = st.builds(lambda text, times: text * times, st.text(max_size=60), st.integers(1, 12))
SCALARS = st.one_of(WILD, st.integers(), st.floats(), st.booleans(), st.none())
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=5))
ITEMS = st.builds(Item, st.just("i"), WILD, st.dictionaries(st.text(max_size=60), VALUES, max_size=8))
CAPTIONS = st.one_of(st.none(), WILD)
ROOMS = st.integers(8, 200)


@given(ITEMS, CAPTIONS, ROOMS)
def test_a_description_takes_about_the_tokens_it_is_given(item: Item, caption: str | None, room: int) -> None:
    """Joints, full stops and an ellipsis come on top."""
    assert tokens(describe(item, caption, room)) <= room + 16


@given(ITEMS, CAPTIONS, ROOMS)
@example(Item("1", ". ⺀. ⺀"), "A red bag.", 8)  # of whose head in four tokens only a full stop is left
def test_the_title_is_always_there(item: Item, caption: str | None, room: int) -> None:
    title = words(item.title)
    told = describe(item, caption, room)
    assert told.startswith(title if tokens(title) <= room // 2 else shorten(title, room)[:1])


@given(ITEMS, CAPTIONS)
def test_no_item_is_described_by_nothing(item: Item, caption: str | None) -> None:
    """Two titles that are only markup must not be the same candidate."""
    assert describe(replace(item, item_id="sku-1", title="<p> </p>"), caption).startswith("sku-1.")


@given(ITEMS, CAPTIONS, ROOMS)
def test_a_description_is_one_line_without_control_characters(item: Item, caption: str | None, room: int) -> None:
    told = describe(item, caption, room)
    assert not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in told)
    assert told == told.strip()
    assert len(told.splitlines()) <= 1


def test_attributes_keep_the_order_that_is_asked_for() -> None:
    item = Item("i", "T", {"a": 1, "b": 2, "c": 3})
    assert describe(item) == "T. A: 1. B: 2. C: 3."
    assert describe(item, order=["c", "a", "z"]) == "T. C: 3. A: 1."


def test_title_attributes_and_picture_are_sentences() -> None:
    item = Item("i", "Alien", {"release_year": 1979, "genres": "Horror|Sci-Fi", "leadingStars": ["Weaver", "Hurt"]})
    assert describe(item, "A dark egg, glowing.") == (
        "Alien. Release year: 1979. Genres: Horror, Sci-Fi. Leading stars: Weaver, Hurt. Picture: A dark egg, glowing."
    )


@pytest.mark.parametrize(
    ("name", "shown"), [("release_year", "Release year"), ("RegionName", "Region name"), ("ABV", "Abv"), ("", "")]
)
def test_a_columns_name_as_words(name: str, shown: str) -> None:
    assert heading(name) == shown


@pytest.mark.parametrize("title", ["Who?", "Help!", "End.", "And…"])
def test_a_title_that_ends_a_sentence_gets_no_second_full_stop(title: str) -> None:
    assert describe(Item("i", title, {"year": 1999})) == f"{title} Year: 1999."


def test_three_hundred_attributes_do_not_flood_a_prompt() -> None:
    item = Item("i", "Thing", {f"column_{n}": f"value {n}" for n in range(300)})
    told = describe(item, "A thing.")
    assert tokens(told) <= 70
    assert told.startswith("Thing. Column 0: value 0. Column 1: value 1. ")
    assert told.endswith(" Picture: A thing.")


def test_the_picture_goes_before_attributes_when_room_is_short() -> None:
    item = Item("i", "Alien", {"genres": "Horror"})
    assert describe(item, "A dark egg.", room=12) == "Alien. Picture: A dark egg."


def test_a_long_attribute_is_cut_and_marked() -> None:
    told = describe(Item("i", "T", {"plot": "word " * 100, "year": 1}), room=40)
    assert told.startswith("T. Plot: word word")
    assert told.endswith("word…")


def test_a_list_is_cut_between_its_values() -> None:
    told = describe(Item("i", "T", {"tags": ["one two", "three four", "five six seven eight nine"]}), room=14)
    assert told == "T. Tags: one two, three four…"


def test_links_and_empty_values_are_left_out() -> None:
    attributes = {"empty": "", "none": [], "bars": "||", "genres": "(no genres listed)"}
    assert describe(Item("i", "T", attributes)) == "T."


@pytest.mark.parametrize("before", [None, "\\N"])
def test_a_column_that_a_file_brings_later_is_shown(workspace: Workspace, tmp_path: Path, before: str | None) -> None:
    """It is new, or was empty until now; the items are as many as they were."""
    for value in (before, "red"):
        colours = {} if value is None else {"colour": value}
        rows = [ItemRow(n, f"i{n}", f"Film {n}", {"kind": "ab"[n % 2], **colours}, None) for n in range(8)]
        if value == "red":
            rows[3].attributes["colour"] = "blue"
        catalogue.add_items(workspace, tmp_path / "items.csv", rows)
        shown = {*Descriptions(workspace).order}
        assert shown == ({"kind", "colour"} if value == "red" else {"kind"})


def test_the_workspace_keeps_what_was_chosen(workspace: Workspace) -> None:
    choose(workspace, ["year"], 32)
    made = Descriptions(workspace)
    assert (made.order, made.tokens, made.line) == (["year"], 32, 16)
    choose(workspace, None, None)
    assert Descriptions(workspace).order == ["year"]
    choose(workspace, [], None)
    assert Descriptions(workspace).chosen == []
    assert Descriptions(workspace).tokens == 32


# ---- shorten


@given(WILD, st.integers(1, 100))
def test_shorten_keeps_a_head_of_the_text_within_the_room(text: str, room: int) -> None:
    made = shorten(text, room)
    if tokens(text) <= room:
        assert made == text
    else:
        assert tokens(made) <= max(1, room)
        assert made.endswith("…")
        assert text.startswith(made[:-1])


@given(st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=60).map(" ".join), st.integers(8, 60))
def test_shorten_cuts_between_words(text: str, room: int) -> None:
    all_words = text.split()
    kept = shorten(text, room).removesuffix("…").split()
    assert kept == all_words[: len(kept)]


@given(st.text("漢字", min_size=30), st.integers(4, 25))
def test_shorten_fills_the_room_where_there_are_no_blanks(text: str, room: int) -> None:
    assert shorten(text, room) == text[: (room - 1) // 2] + "…"


@pytest.mark.parametrize(
    ("text", "room", "made"),
    [
        ("one two three", 3, "one two three"),
        ("one two three", 2, "one…"),
        ("one two, three four", 4, "one two…"),
    ],
)
def test_examples_of_shortened_text(text: str, room: int, made: str) -> None:
    assert shorten(text, room) == made
