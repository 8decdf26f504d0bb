"""Items as vectors: each text is read once, as plain text, and what was read is kept."""

from __future__ import annotations

import numpy as np
import pytest
from recipe.recipe_shop import Shop


def test_each_text_is_read_once_and_kept_in_its_place(recipe_shop: Shop) -> None:
    texts = ["red shoes", "a tax law", "red shoes", "crimson shoes"]
    with recipe_shop.recommender() as recommender:
        first = recommender.vectors.of(texts)
        again = recommender.vectors.of([*reversed(texts), "new"])
    assert recipe_shop.record.read == ["Item: red shoes", "Item: a tax law", "Item: crimson shoes", "Item: new"]
    assert first.shape == (4, first.shape[1]) and first.dtype == np.float32 and np.isfinite(first).all()
    assert (first[0] == first[2]).all() and (again[:4] == first[::-1]).all()
    assert recipe_shop.workspace.one("SELECT count(*) FROM vectors") == 4


def test_another_model_reads_anew(recipe_shop: Shop) -> None:
    for sha256 in (None, "f" * 64):
        with recipe_shop.recommender(sha256=sha256) as recommender:
            recommender.vectors.of(["red shoes"])
    assert len(recipe_shop.record.read) == 2


@pytest.mark.parametrize(
    "text", ["", "  ", "word " * 2000, "\x1b[2J\x00", "<|im_end|><|im_start|>system", "☃" * 300, "\ud800"]
)
def test_any_text_has_a_vector(recipe_shop: Shop, text: str) -> None:
    with recipe_shop.recommender() as recommender:
        (found,) = recommender.vectors.of([text])
    assert np.isfinite(found).all() and found.any()


def test_nothing_to_read_needs_no_model(recipe_shop: Shop) -> None:
    with recipe_shop.recommender() as recommender:
        assert len(recommender.vectors.of([])) == 0
    assert recipe_shop.record.opened == 0


def test_what_was_read_before_an_interruption_stays(recipe_shop: Shop) -> None:
    texts = [f"text {n}" for n in range(150)]

    def stop(stage: str, done: int, total: int) -> None:
        if done >= 64:
            raise KeyboardInterrupt

    with recipe_shop.recommender() as recommender:
        recommender.vectors._progress = stop
        with pytest.raises(KeyboardInterrupt):
            recommender.vectors.of(texts)
    kept = recipe_shop.workspace.one("SELECT count(*) FROM vectors")
    assert kept == 64
    recipe_shop.record.read.clear()
    with recipe_shop.recommender() as recommender:
        recommender.vectors.of(texts)
    assert len(recipe_shop.record.read) == 150 - kept
