"""Captions on a real, tiny model with eyes: what is captioned, kept, and made again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from recipe.recipe_shop import Shop

from msr_local.errors import ModelError
from msr_local.models.spec import Fused, Scorer
from msr_local.recipe.captions import CaptionRun
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import RECIPES
from msr_local.store import histories


@pytest.fixture
def shop(recipe_shop: Shop) -> Shop:
    """Four items with pictures and one without; c is the most popular, then b."""
    recipe_shop.stock(*"abcd", pictures=True)
    recipe_shop.stock("e")
    for user, items in (("u", "bc"), ("v", "cb"), ("w", "ce")):
        recipe_shop.take(user, *items)
    return recipe_shop


def make(shop: Shop, **options: object) -> tuple[CaptionRun, list[str]]:
    """Make captions as a new process would: (what became of them, the questions asked)."""
    limit = options.pop("limit", None)
    with shop.recommender(**options) as recommender:  # type: ignore[arg-type]
        run = recommender.captions.make(limit=limit)  # type: ignore[arg-type]
    return run, shop.record.take()


def captions(shop: Shop) -> dict[str, str | None]:
    with shop.recommender() as recommender:
        return {item.item_id: recommender.captions.of(item) for item in histories.items(shop.workspace, "abcde")}


def seen(shop: Shop, asked: list[str]) -> list[str]:
    """Whose picture stands in each question."""
    pictures = {hashlib.sha256((shop.folder / f"{one}.png").read_bytes()).hexdigest(): one for one in "abcd"}
    return [next(one for sha256, one in pictures.items() if f"[{sha256}]" in question) for question in asked]


def test_every_picture_is_captioned_once_the_popular_ones_first(shop: Shop) -> None:
    run, asked = make(shop)
    assert run == CaptionRun(made=4)
    assert seen(shop, asked) == ["c", "b", "a", "d"]
    made = captions(shop)
    assert made.pop("e") is None
    assert all(text and len(text.splitlines()) == 1 for text in made.values())
    assert make(shop) == (CaptionRun(present=4), [])
    assert shop.record.opened == 1


def test_the_question_holds_the_picture_itself(shop: Shop) -> None:
    sha256 = shop.paint("c", 77)
    _, asked = make(shop, limit=1)
    assert asked[0].count(f"[{sha256}]") == 1


def test_a_limit_leaves_the_rest_for_later(shop: Shop) -> None:
    assert make(shop, limit=0) == (CaptionRun(left=4), [])
    assert make(shop, limit=3)[0] == CaptionRun(made=3, left=1)
    assert make(shop, limit=3)[0] == CaptionRun(present=3, made=1)


def test_a_new_picture_makes_that_caption_again_and_a_new_title_does_not(shop: Shop) -> None:
    make(shop)
    shop.rename("a", "Film x")
    shop.paint("b", 200)
    assert [item for item, text in captions(shop).items() if text is None] == ["b", "e"]
    run, asked = make(shop)
    assert run == CaptionRun(present=3, made=1)
    assert seen(shop, asked) == ["b"]


def test_the_title_is_not_in_the_question(shop: Shop) -> None:
    """A model that is told the title says what it cannot see."""
    _, asked = make(shop)
    assert not any("Film" in question for question in asked)


def test_a_picture_painted_back_makes_its_caption_again_with_the_same_words(shop: Shop) -> None:
    make(shop)
    before = captions(shop)
    shop.paint("a", 200)
    make(shop)
    shop.paint("a", 0)
    assert captions(shop)["a"] is None
    make(shop)
    assert captions(shop) == before


def test_another_model_makes_its_own_and_leaves_those_of_the_first(shop: Shop) -> None:
    make(shop)
    before = captions(shop)
    assert make(shop, sha256="c" * 64)[0] == CaptionRun(made=4)
    assert captions(shop) == before
    assert make(shop) == (CaptionRun(present=4), [])


def test_without_a_vision_model_there_are_none(shop: Shop) -> None:
    make(shop)
    with shop.recommender(blind=True) as recommender:
        with pytest.raises(ModelError, match="vision model"):
            recommender.captions.make()
        assert recommender.captions.of(histories.items(shop.workspace, "a")[0]) is None
    assert shop.record.opened == 1


def test_a_picture_that_goes_away_meanwhile_fails_alone(shop: Shop) -> None:
    items = histories.items(shop.workspace, "abcd")
    (shop.folder / "b.png").unlink()
    (shop.folder / "d.png").write_bytes(b"not a picture")
    with shop.recommender() as recommender:
        run = recommender.captions.make(items)
    assert (run.made, run.left) == (2, 0)
    assert [(item.item_id, str(shop.folder / f"{item.item_id}.png") in reason) for item, reason in run.failed] == [
        ("b", True),
        ("d", True),
    ]


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_an_interrupt_keeps_the_captions_that_were_made(shop: Shop, patience: int) -> None:
    shop.record.patience = patience
    with pytest.raises(KeyboardInterrupt):
        make(shop)
    shop.record.take()
    shop.record.patience = float("inf")
    assert make(shop)[0] == CaptionRun(present=patience, made=4 - patience)


def test_an_edited_prompt_captions_anew(shop: Shop) -> None:
    make(shop)
    folder = shop.workspace.home / "prompts"
    folder.mkdir()
    (folder / "item_caption.j2").write_text(
        "{% block system %}{% endblock %}{% block shared %}{% endblock %}{% block own %}{{ image }}?{% endblock %}"
    )
    run, asked = make(shop)
    assert run == CaptionRun(made=4)
    assert not any("Film" in question for question in asked)


def test_recall_reads_the_captions_where_the_recipe_has_them(shop: Shop) -> None:
    with shop.recommender() as before:
        plain = before.recall.texts()
    make(shop)
    written = captions(shop)
    with shop.recommender() as recommender, shop.recommender(RECIPES["no-image"]) as blind:
        ids = recommender.recall.now().item_ids
        told = dict(zip(ids, recommender.recall.texts(), strict=True))
        assert all(told[item].endswith(text) for item, text in written.items() if text)
        assert blind.recall.texts() == plain and told["e"] == plain[ids.index("e")]
        first = recommender.recall.now()
        assert recommender.recall.now() is first
        shop.paint("a", 200)
        recommender.captions.make()
        assert recommender.recall.now() is not first


def test_pictures_stay_out_of_the_question_of_a_model_that_was_tuned_without(shop: Shop) -> None:
    scorer = Scorer("mine", False, "adapter", Path("mine.gguf"), "c" * 64, 512, Fused(1.0), RECIPES["full"], "r1", {})
    with shop.recommender() as plain:
        assert plain.cast.looks
        tuned = replace(plain.cast, scorer=scorer)
    with Recommender(shop.workspace, tuned) as recommender:
        assert not recommender.cast.looks
        assert recommender.captions.state() == plain.captions.state()  # captions are another matter
    embedded = replace(plain.cast, origin="embedded")
    with Recommender(shop.workspace, embedded) as recommender:
        assert not recommender.cast.looks
