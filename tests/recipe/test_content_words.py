"""Content words: what is left of a text without function words, and when two words are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.recipe.words import content_words


def words(text: str) -> list[str]:
    return list(content_words(text).values())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("This person now likes red and floral things, and still some clothing; less navy than before.",
         ["red", "floral", "clothing", "navy"]),
        ("This person likes clothing and tea; hardly any hats now.", ["clothing", "tea", "hats"]),
        ("Zanetti T-shirt. Price: 127.50. (1999) “Sci-Fi”", ["zanetti", "t-shirt", "price", "sci-fi"]),
        ("They prefer love stories of old, new themes and genres", ["love", "stories", "old", "new"]),
        ("The an of 12 -- !", []),
        ("", []),
    ],
)  # fmt: skip
def test_what_says_something_stays(text: str, left: list[str]) -> None:
    assert words(text) == left


@pytest.mark.parametrize(
    "plural",
    ["dress dresses", "movie1 movie1s", "berry berries", "T-shirt t-SHIRTS", "house houses", "box boxes", "shoe shoes",
     "tomato tomatoes", "glass glasses", "Alien's alien", "Alien’s alien", "toy toys", "bus buses", "dish dishes"],
)  # fmt: skip
def test_case_and_plural_make_no_other_word(plural: str) -> None:
    assert len(words(plural)) == 1


@pytest.mark.parametrize("two", ["pin pine", "car care", "glass gloss", "plan plane", "boot boat", "skirt shirt"])
def test_other_words_stay_two(two: str) -> None:
    assert words(two) == two.split()


@given(st.text(max_size=80))
def test_words_of_any_text_are_in_it_and_have_a_letter(text: str) -> None:
    found = content_words(text)
    assert len(set(found.values())) == len(found)
    for word in found.values():
        assert len(word) > 2 and any(letter.isalpha() for letter in word)
        assert word in text.replace("’", "'").lower()
