"""Explanations on a real, tiny model: timeline, notes, and what can be explained at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recipe.recipe_shop import Shop

from msr_local.errors import NotFoundError
from msr_local.recipe.explanations import explain
from msr_local.recipe.views import Explanation
from msr_local.recipes import RECIPES

FILMS = [f"f{n}" for n in range(8)]


@pytest.fixture
def shop(recipe_shop: Shop) -> Shop:
    """Eight films with pictures; u took five of them, v all, w two."""
    recipe_shop.stock(*FILMS, pictures=True)
    recipe_shop.take("u", *FILMS[:5])
    recipe_shop.take("v", *FILMS)
    recipe_shop.take("w", "f0", "f6")
    return recipe_shop


def why(shop: Shop, user: str = "u", item_id: str | None = None, recipe: str = "full", **options: bool) -> Explanation:
    with shop.recommender(RECIPES[recipe], **options) as recommender:
        return explain(recommender, user, item_id)


@pytest.mark.parametrize(("user", "item_id", "said"), [("u", "nothing", "'nothing'"), ("nobody", "f7", "'nobody'")])
def test_what_is_not_there_is_said_before_an_engine_starts(shop: Shop, user: str, item_id: str, said: str) -> None:
    with pytest.raises(NotFoundError, match=said):
        why(shop, user, item_id)
    assert shop.record.opened == 0


def test_who_has_seen_all_can_only_ask_about_seen_items(shop: Shop) -> None:
    with pytest.raises(NotFoundError, match="nothing to recommend: user 'v'"):
        why(shop, "v")
    found = why(shop, "v", "f3")
    assert (found.item_id, list(found.recommendations)) == ("f3", [])
    assert "This item is already in the user's history." in found.notes
    assert found.evidence


def test_an_unseen_item_has_no_note_of_being_seen(shop: Shop) -> None:
    assert not any("already" in note for note in why(shop, "u", "f7").notes)


def test_the_timeline_shows_each_block_with_its_time_and_items(shop: Shop) -> None:
    timeline = why(shop, "v", "f3").timeline
    assert [block.block for block in timeline] == [0, 1, 2]
    assert [[item["title"] for item in block.items] for block in timeline] == [
        [f"Film {film}" for film in FILMS[start : start + 3]] for start in (0, 3, 6)
    ]
    assert all(block.start and block.end and block.start <= block.end for block in timeline)


def test_the_timeline_says_what_each_summary_changed_against_the_one_before(shop: Shop) -> None:
    why(shop, "v", "f3")
    for block, summary in enumerate(["Likes westerns.", "Likes westerns, horror.", "Likes musicals, horror."]):
        with shop.workspace.write():
            shop.workspace.execute("UPDATE preferences SET summary = ? WHERE block = ?", [summary, block])
    assert [(block.added, block.dropped) for block in why(shop, "v", "f3").timeline] == [
        ([], []),
        (["horror"], []),
        (["musicals"], ["westerns"]),
    ]


@pytest.mark.parametrize(
    ("recipe", "blocks", "missing"),
    [
        ("full", 2, set()),
        ("paper", 2, {"history", "hint"}),
        ("no-image", 2, {"image", "caption"}),
        ("history", 0, {"summary"}),
    ],
)
def test_a_recipe_explains_by_its_own_evidence(shop: Shop, recipe: str, blocks: int, missing: set[str]) -> None:
    with shop.recommender() as recommender:
        recommender.captions.make()
    found = why(shop, "u", "f6", recipe)
    assert {one.kind for one in found.evidence} == {"caption", "image", "hint", "summary", "history"} - missing
    assert len(found.timeline) == blocks
    assert sum(one.kind == "history" for one in found.evidence) == (0 if "history" in missing else 5)


def test_a_picture_that_was_not_looked_at_is_noted_with_the_reason(shop: Shop) -> None:
    assert not any("picture" in note for note in why(shop, "u", "f7").notes)
    assert (
        "The question contained no picture: the recipe does not use pictures." in why(shop, "u", "f7", "no-image").notes
    )
    assert "The question contained no picture: no vision model is configured." in why(shop, "u", "f7", blind=True).notes
    shop.cast = replace(shop.cast, origin="embedded")
    assert any(
        "the model was not trained with pictures. It read the caption" in note for note in why(shop, "u", "f7").notes
    )


def test_an_untuned_model_is_noted_with_its_coverage(shop: Shop) -> None:
    (note,) = (note for note in why(shop).notes if "not trained" in note)
    assert "%" in note


def test_the_item_is_shown_with_its_picture_and_attributes(shop: Shop) -> None:
    found = why(shop, "u", "f7")
    assert (found.title, found.description_lines) == ("Film f7", ["Kind: film"])
    assert found.image is not None and (found.image.width, found.image.height) == (24, 24)
    (shop.folder / "f7.png").unlink()
    assert why(shop, "u", "f7").image is None


def test_explaining_leaves_the_kept_ranking_as_it_was(shop: Shop) -> None:
    with shop.recommender() as recommender:
        recommender.recommend("u")
    query = "SELECT user_id, rank, item_id, score FROM recommendations ORDER BY 1, 2"
    before = shop.workspace.execute(query).fetchall()
    for item_id in ("f7", "f2", None):
        why(shop, "u", item_id)
    assert shop.workspace.execute(query).fetchall() == before
    assert len(before) == 3


def test_the_strongest_evidence_comes_first(shop: Shop) -> None:
    found = why(shop)
    sizes = [abs(one.delta_log_odds) for one in found.ranked_evidence]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == len(found.evidence)
