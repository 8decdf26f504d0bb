"""The eyes' building blocks: the same shapes as transformers' own, and nothing left out of the training."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="trains")
pytest.importorskip("transformers", reason="trains")

from embedded import tower  # noqa: E402
from embedded.words import Facts  # noqa: E402


class Tokenizer:
    """One id for each word, the same each time."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [sum(map(ord, word)) for word in text.split()]


def test_the_pixel_shuffle_is_that_of_transformers() -> None:
    from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector

    hidden = torch.randn(2, 64, 12)
    theirs = Idefics3Connector.pixel_shuffle(None, hidden, tower.SHUFFLE)  # it uses nothing of itself
    assert torch.equal(tower.shuffled(hidden), theirs)


def test_each_weight_has_one_optimiser() -> None:
    eyes = tower.Eyes(24)
    held = [value for one in tower.optimisers_of(eyes) for group in one.param_groups for value in group["params"]]
    assert len(held) == len(set(map(id, held))) and {id(v) for v in held} == {id(v) for v in eyes.parameters()}


def test_a_picture_token_says_one_word_and_what_is_unknown_is_not_asked() -> None:
    said = tower.slot_words(Facts("casual shoes", "navy blue", whom="men"), Tokenizer())
    fill = Tokenizer().encode(tower.FILL, add_special_tokens=False)[0]
    assert len(said) == tower.TOKENS == sum(tower.SLOTS.values())
    assert said[:4] == [*Tokenizer().encode("casual shoes", add_special_tokens=False), fill, fill]
    assert said[6:8] == [-1, -1]  # the catalogue says nothing of a pattern


def test_the_learning_rate_ends_at_nothing() -> None:
    assert tower.rate(0.0, 1e-3) < tower.rate(0.1, 1e-3) == tower.rate(0.5, 1e-3) == 1e-3
    assert tower.rate(1.0, 1e-3) == 0.0 < tower.rate(0.9, 1e-3) < 1e-3


def test_the_word_loss_is_least_where_the_words_are() -> None:
    table = torch.nn.functional.normalize(torch.randn(7, 24), dim=-1)
    targets = torch.tensor([[3, 5, -1]])
    right = torch.stack([table[3], table[5], table[0]])[None]
    wrong = torch.stack([table[2], table[5], table[0]])[None]
    assert tower.word_loss(right, targets, table, 16.0) < tower.word_loss(wrong, targets, table, 16.0)
