"""Explanations on a real, tiny model: timeline, notes, and what can be explained at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from recipe.recipe_shop import Shop, Watched

from msr_local.engine.answers import sigmoid
from msr_local.errors import NotFoundError
from msr_local.models.spec import Fused, Scorer
from msr_local.recipe.explanations import UNCALIBRATED, explain
from msr_local.recipe.recommender import Recommender
from msr_local.recipe.views import Explanation
from msr_local.recipes import RECIPES, Recipe

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


def test_clear_evidence_comes_first_and_the_strongest_of_it_before_all(shop: Shop) -> None:
    found = why(shop)
    assert [*found.clear_evidence, *found.unclear_evidence] == sorted(
        found.evidence, key=lambda one: (not one.clear, -abs(one.delta_log_odds) if one.clear else 0.0)
    )


def test_where_there_is_no_other_item_the_effect_is_that_on_this_one(shop: Shop) -> None:
    found = why(shop, "v", "f3")
    assert all((one.common, one.ci95, one.compared_with) == (None, None, 0) for one in found.evidence)
    assert "no other candidate to compare with" in found.evidence_meaning


def test_with_one_other_item_there_is_no_interval(shop: Shop) -> None:
    shop.take("u", "f5", "f6")
    found = why(shop, "u", "f0")
    assert len(found.recommendations) == 1 and found.evidence
    for one in found.evidence:
        assert one.common is not None and (one.ci95, one.compared_with) == (None, 1)


def test_a_part_says_which_words_it_has_in_common_with_the_item(shop: Shop) -> None:
    for film, title in (("f1", "Red harbours"), ("f6", "A harbour in red"), ("f7", "The blue film"), ("f5", "Grey")):
        shop.rename(film, title)
    why(shop, "u", "f6")
    with shop.workspace.write():
        shop.workspace.execute("UPDATE preferences SET summary = 'Likes harbours, films and still some red things.'")
    shared = {one.label: list(one.shared) for one in why(shop, "u", "f6").evidence}
    # All candidates are of the kind "film", so that word tells nothing.
    assert shared.pop("the preference summary") == ["harbours", "red"]
    assert shared.pop("Red harbours") == ["red", "harbours"]
    assert not any(shared.values())


def test_recommended_items_come_with_small_pictures(shop: Shop) -> None:
    found = why(shop, "u", "f7")
    assert set(found.thumbnails) == {"f5", "f6", "f7"}
    assert all((one.width, one.height) == (24, 24) for one in found.thumbnails.values())
    (shop.folder / "f6.png").unlink()
    assert set(why(shop, "u", "f7").thumbnails) == {"f5", "f7"}


def test_new_items_whose_texts_could_not_be_read_are_told(shop: Shop) -> None:
    with shop.recommender() as recommender:
        assert not any("new items" in note for note in explain(recommender, "u").notes)
        recommender.recall.unread = "The texts of new items (3) count little in recall: another model."
        assert recommender.recall.unread in explain(recommender, "u").notes


def test_an_explanation_without_a_calibrated_score_says_so(shop: Shop) -> None:
    found = why(shop)
    assert found.probability is None and UNCALIBRATED in found.notes
    scorer = Scorer("mine", True, "adapter", Path("m.gguf"), "c" * 64, 512, Fused(2.0, (0.5, -1.0)), Recipe(), "r", {})
    shop.cast = replace(shop.cast, scorer=scorer)
    cast = replace(shop.cast, recipe=Recipe())
    with Recommender(shop.workspace, cast, open_engine=lambda _: Watched(shop.engine, shop.record)) as recommender:
        told = explain(recommender, "u")
    assert (
        told.probability
        == told.recommendations[0].probability
        == pytest.approx(sigmoid(0.5 * told.recommendations[0].score - 1.0))
    )
    assert UNCALIBRATED not in told.notes
    items = [one.probability for one in told.recommendations]
    assert items == sorted(items, reverse=True)
