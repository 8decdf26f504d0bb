"""In what order training sees its questions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")

from msr_local.training.loop import AlikeLengths


@given(st.lists(st.integers(1, 900), max_size=200), st.integers(1, 9), st.integers(0, 3))
def test_a_pass_sees_every_group_once_and_the_next_one_in_another_order(
    lengths: list[int], batch: int, seed: int
) -> None:
    sampler = AlikeLengths(lengths, batch, seed)
    first = list(sampler)
    assert sorted(first) == list(range(len(sampler))) and list(sampler) == first
    assert list(AlikeLengths(lengths, batch, seed)) == first  # a run that goes on sees what it would have seen
    sampler.set_epoch(1)
    assert sorted(sampler) == sorted(first)
    if len(lengths) > 50 * batch:
        assert list(sampler) != first


def test_little_of_a_batch_is_padding() -> None:
    lengths = [100, 900] * 200
    order = list(AlikeLengths(lengths, 8, 0))
    batches = [[lengths[one] for one in order[at : at + 8]] for at in range(0, len(order), 8)]
    assert sum(max(batch) * len(batch) for batch in batches) < 1.1 * sum(
        lengths
    )  # in a random order it would be 1.8 times as much
