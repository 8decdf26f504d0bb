"""Items alike by what is read of them and by who took them; new items by what is read alone."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_local.recall.candidates import Recall
from msr_local.recall.similar import Alike, alike
from msr_local.recall.words import words_of

TEXTS = ["red shoe", "red shoe", "blue shoe", "green tea", "black tea", "red boot", "of its own"]


def made(log: list[tuple[int, int]], texts: list[str]) -> Recall:
    pairs = np.array(sorted(set(log)), np.int32).reshape(-1, 2)
    return Recall([f"i{n}" for n in range(len(texts))], pairs[:, 0], pairs[:, 1], texts)


def test_a_new_item_is_known_by_its_text_alone() -> None:
    recall = made([(user, item) for user in range(9) for item in (2, 3)], TEXTS)
    found = alike(recall, "i0", 9)
    assert found[0].item_id == "i1" and found[0].similarity == pytest.approx(1)
    assert all(one.shares == {"text": pytest.approx(1), "item_knn": 0} and one.both == 0 for one in found)
    assert {one.item_id for one in found} == {"i1", "i2", "i5"}  # what shares no word with it is not like it
    assert alike(recall, "i6", 9) == []


def test_words_that_no_blanks_part_are_found() -> None:
    texts = [
        "红色连衣裙 夏季",
        "红色短裙",
        "蓝色茶壶",
        "白色茶壶 陶瓷",
        "赤いワンピース",
        "青いワンピース",
        "USB充电器",
        "充电器USB",
    ]
    recall = made([], texts)
    nearest = {one: int(found[0].item_id[1:]) for one in range(8) if (found := alike(recall, f"i{one}", 1))}
    assert nearest == {0: 1, 1: 0, 2: 3, 3: 2, 4: 5, 5: 4, 6: 7, 7: 6}


@given(st.text(st.characters(max_codepoint=0x2FFF)))
def test_words_that_blanks_part_stay_whole(text: str) -> None:
    assert [*words_of(text)] == re.findall(r"\w+", text.lower())


def test_who_took_it_counts_the_more_the_more_did() -> None:
    def tea(users: int) -> Alike:
        """Which has no word in common with the shoe that the same users took."""
        recall = made([(user, item) for user in range(users) for item in (2, 3)], TEXTS)
        return next(one for one in alike(recall, "i2", 9) if one.item_id == "i3")

    few, many = tea(1), tea(50)
    assert 0 < few.similarity < 0.2 and 0.4 < many.similarity < 0.5
    assert many.shares == {"text": 0, "item_knn": pytest.approx(1)} and (few.both, many.both) == (1, 50)


logs = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 11)), max_size=50)
texts = st.lists(st.text("ab ", max_size=5), min_size=12, max_size=12)


@settings(max_examples=100)
@given(logs, texts, st.integers(0, 11), st.integers(1, 12), st.sets(st.sampled_from([f"i{n}" for n in range(12)])))
def test_shares_sum_to_one_and_a_filter_only_filters(
    log: list[tuple[int, int]], texts: list[str], item: int, count: int, only: set[str]
) -> None:
    recall = made(log, texts)
    whole = alike(recall, f"i{item}", 12)
    assert f"i{item}" not in {one.item_id for one in whole}
    assert [one.similarity for one in whole] == sorted((one.similarity for one in whole), reverse=True)
    for one in whole:
        assert 0 < one.similarity <= 1 + 1e-9 and sum(one.shares.values()) == pytest.approx(1)
        takers = [{user for user, taken in log if taken == int(each[1:])} for each in (f"i{item}", one.item_id)]
        assert one.both == len(takers[0] & takers[1])
    assert alike(recall, f"i{item}", count, only) == [one for one in whole if one.item_id in only][:count]


def test_an_unknown_item() -> None:
    with pytest.raises(KeyError):
        alike(made([], TEXTS), "nothing", 3)
