"""Blocks of a history: which interactions a chain of summaries is made from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.recipe.blocks import Block, blocks, changes, summarised
from msr_local.store.rows import Interaction, Item


def history(length: int) -> list[Interaction]:
    return [Interaction(Item(f"i{n}", f"Item {n}"), f"2020-01-01T00:{n:05}") for n in range(length)]


LENGTHS = st.integers(0, 150)
SIZES = st.integers(1, 12)
WINDOWS = st.integers(1, 60)


@given(LENGTHS, SIZES, WINDOWS)
def test_every_interaction_of_the_window_lands_in_exactly_one_block_in_order(
    length: int, size: int, window: int
) -> None:
    whole = history(length)
    cut = blocks(whole, size, window)
    flat = [step for block in cut for step in block.interactions]
    assert flat == whole[length - len(flat) :]
    if length <= window // size * size:
        assert flat == whole


@given(LENGTHS, SIZES, WINDOWS)
def test_blocks_are_full_but_the_last_and_counted_from_the_first_interaction(
    length: int, size: int, window: int
) -> None:
    whole = history(length)
    cut = blocks(whole, size, window)
    for block in cut:
        assert block.interactions == tuple(whole[block.index * size : (block.index + 1) * size])
    assert [block.index for block in cut] == list(range(-(-length // size)))[-len(cut) :][: len(cut)]
    assert all(len(block.interactions) == size for block in cut[:-1])


@given(LENGTHS, SIZES, WINDOWS)
def test_what_is_summarised_is_counted_without_cutting(length: int, size: int, window: int) -> None:
    cut = blocks(history(length), size, window)
    assert summarised(length, size, window) == sum(len(block.interactions) for block in cut)


@given(LENGTHS, SIZES, WINDOWS)
def test_the_number_of_blocks_stays_between_half_the_window_and_the_window(length: int, size: int, window: int) -> None:
    most = max(1, window // size)
    cut = blocks(history(length), size, window)
    assert len(cut) <= most
    assert len(cut) >= min(-(-length // size), -(-most // 2))


@given(LENGTHS, st.integers(0, 40), SIZES, WINDOWS)
def test_appending_leaves_complete_earlier_blocks_as_they_were(length: int, more: int, size: int, window: int) -> None:
    whole = history(length + more)
    before = {block.index: block for block in blocks(whole[:length], size, window)}
    after = {block.index: block for block in blocks(whole, size, window)}
    for index in before.keys() & after.keys():
        if len(before[index].interactions) == size:
            assert before[index] == after[index]
        else:
            assert after[index].interactions[: len(before[index].interactions)] == before[index].interactions


@given(LENGTHS.filter(bool), SIZES, WINDOWS)
def test_one_more_interaction_mostly_touches_only_the_last_block(length: int, size: int, window: int) -> None:
    """The start of the chain moves at most once in `stride` blocks: elsewhere all but the last block stay."""
    whole = history(length + 1)
    before, after = blocks(whole[:-1], size, window), blocks(whole, size, window)
    if before[0].index == after[0].index:
        assert [b for b in before if len(b.interactions) == size] == after[: length // size - before[0].index]
    else:
        stride = max(1, max(1, window // size) // 2)
        assert after[0].index - before[0].index == stride
        assert after[0].index % stride == 0


def test_the_example_of_the_paper() -> None:
    assert [[step.item.item_id for step in block.interactions] for block in blocks(history(7))] == [
        ["i0", "i1", "i2"],
        ["i3", "i4", "i5"],
        ["i6"],
    ]


def test_a_window_smaller_than_a_block_still_holds_the_latest_block() -> None:
    (block,) = blocks(history(8), 3, 2)
    assert block.index == 2
    assert [step.item.item_id for step in block.interactions] == ["i6", "i7"]


def test_no_history_has_no_blocks() -> None:
    assert blocks([]) == []


def test_a_block_knows_its_first_and_last_time() -> None:
    block = Block(0, (Interaction(Item("a", "A"), "2001"), Interaction(Item("b", "B"), "2002")))
    assert (block.start, block.end) == ("2001", "2002")
    untimed = Block(0, (Interaction(Item("a", "A")),))
    assert (untimed.start, untimed.end) == (None, None)


# ---- words that a summary gained and lost

WORDS = st.lists(st.sampled_from("Comedy drama, thriller. (noir) THRILLER the Alien's “war” likes a".split()))
TEXTS = st.one_of(st.text(max_size=80), WORDS.map(" ".join))


@given(TEXTS)
def test_a_summary_does_not_change_against_itself(text: str) -> None:
    assert changes(text, text) == ([], [])


@given(TEXTS, TEXTS)
def test_changes_read_backwards_swap_added_and_dropped(before: str, after: str) -> None:
    added, dropped = changes(before, after)
    assert changes(after, before) == (dropped, added)


@given(TEXTS, TEXTS)
def test_added_and_dropped_share_no_word_and_repeat_none(before: str, after: str) -> None:
    added, dropped = changes(before, after)
    assert len({*added, *dropped}) == len(added) + len(dropped)
    assert all(word in after.lower() for word in added if word.isascii() and after.isascii())
    assert all(len(word) > 2 for word in [*added, *dropped])


@given(TEXTS, TEXTS)
def test_with_its_changes_a_summary_has_the_words_of_the_next_one(before: str, after: str) -> None:
    added, dropped = changes(before, after)
    assert changes(" ".join([before, *added]), " ".join([after, *dropped])) == ([], [])


@pytest.mark.parametrize(
    ("before", "after", "added", "dropped"),
    [
        ("This person likes comedies.", "This person now likes thrillers.", ["thrillers"], ["comedies"]),
        ("Loves War films", "loves war FILMS!", [], []),
        ("Alien's world", "Alien’s world", [], []),
        ("", "Dark, slow dramas", ["dark", "slow", "dramas"], []),
        ("action action", "", [], ["action"]),
        ("This person likes navy.", "This person now likes navy, and still some things.", [], []),
        ("Likes navy and T-shirts.", "Now likes a red T-shirt; less navy than before.", ["red"], []),
    ],
)
def test_what_counts_as_a_change(before: str, after: str, added: list[str], dropped: list[str]) -> None:
    assert changes(before, after) == (added, dropped)
