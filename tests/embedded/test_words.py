"""Facts, captions, and whether a caption names them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded import words
from embedded.words import Facts, caption, names, names_colour

WORD = st.text("abcdefghij", min_size=3, max_size=8).filter(lambda word: word != "beige")  # which is a colour


@pytest.mark.parametrize(
    ("article", "name"),
    [
        ("Tshirts", "T-shirt"), ("Casual Shoes", "casual shoes"), ("Watches", "watch"), ("Sunglasses", "sunglasses"),
        ("Flip Flops", "flip flops"), ("Kurtas", "kurta"), ("Dresses", "dress"), ("Laptop Bag", "laptop bag"),
        ("Innerwear Vests", "innerwear vest"), ("Belts", "belt"), ("Scarves", "scarf"), ("Accessory Gift Set",) * 2,
    ],
)  # fmt: skip
def test_articles_are_called_as_people_do(article: str, name: str) -> None:
    assert words.article_name(article).lower() == name.lower()


def test_captions_say_what_is_known() -> None:
    assert (
        caption(Facts("T-shirt", "red", "striped", "men", "casual")) == "A red striped T-shirt for men, casual style."
    )
    assert caption(Facts("casual shoes", "navy blue")) == "A pair of navy blue casual shoes."
    assert caption(Facts("umbrella")) == "An umbrella."
    assert caption(words.grocery("Milk", "Arla Standard Milk")) == "A package of milk: Arla Standard Milk."
    assert caption(words.grocery("Aubergine", "Aubergine")) == "Fresh aubergine."


@given(
    st.builds(
        Facts, kind=WORD, colour=st.sampled_from(["", "red", "navy blue"]), pattern=st.sampled_from(["", "plain"])
    ),
    st.integers(0, 50),
)
def test_whatever_the_wording_the_facts_are_in_it(facts: Facts, seed: int) -> None:
    text = caption(facts, random.Random(seed))
    assert names(text, facts.kind) and text.endswith(".") and text[0].isupper()
    assert not facts.pattern or names(text, facts.pattern)
    assert not facts.colour or names_colour(text, facts.colour)


def test_naming_minds_words_not_letters() -> None:
    assert names("Two Tshirts.", "T-shirt") and names("a t-shirt", "T-shirt")
    assert not names("A pineapple.", "apple") and not names("", "apple")


def test_the_first_colour_counts() -> None:
    assert names_colour("A navy blue cap with white letters.", "blue")
    assert not names_colour("A white cap, navy blue inside.", "blue")
    assert not names_colour("A cap.", "blue")
    assert not names_colour("An orange.", "red")


def test_near_colours_are_a_short_list_of_neighbours() -> None:
    assert max(map(len, words.NEAR_COLOURS.values())) <= 5
    for colour, near in words.NEAR_COLOURS.items():
        assert colour not in near
