"""A list is made again when something changes that it depends on, and only then."""

from __future__ import annotations

import pytest
from recipe.recipe_shop import Shop

from msr_local.models.spec import Fused
from msr_local.recipe import calibrated
from msr_local.recipe.kept import Kept
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import Recipe
from msr_local.store import catalogue
from msr_local.store.catalogue import COLUMNS
from msr_local.store.rows import InteractionRow, ItemRow

ITEMS = [f"i{n}" for n in range(7)]
PLAIN = Recipe(caption=False)


@pytest.fixture
def shop(recipe_shop: Shop) -> Shop:
    recipe_shop.stock(*ITEMS)
    for n in range(4):
        recipe_shop.take(f"u{n}", *ITEMS[n : n + 3])
    return recipe_shop


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """For whom a list was made."""
    whom: list[str] = []
    whole = Recommender.recommend

    def recommend(self: Recommender, user: str, *how: int) -> object:
        whom.append(user)
        return whole(self, user, *how)

    monkeypatch.setattr(Recommender, "recommend", recommend)
    return whom


def test_a_list_is_made_once_until_something_changes(shop: Shop, made: list[str]) -> None:
    with shop.recommender(PLAIN) as recommender:
        kept = Kept(recommender)
        first = kept.recommend("u0", 3)
        again = kept.recommend("u0", 3)
        assert made == ["u0"] and again.items == first.items and again.timing["score_s"] == 0.0
        assert len(kept.recommend("u0", 2).items) == 2 and made == ["u0", "u0"]
        shop.take("u0", "i6")
        assert "i6" not in [one.item_id for one in kept.recommend("u0", 3).items]
        shop.rename("i5", "Another film")
        assert "Another film" in [one.title for one in kept.recommend("u0", 9).items]
        row = InteractionRow(9, "u0", "i5", "2020-01-01T00:00:00+00:00", 1.0)
        catalogue.add_interactions(shop.workspace, shop.folder / "low.csv", [row], min_rating=3)
        assert "i5" not in [one.item_id for one in kept.recommend("u0", 9).items]
        assert len(made) == 5


def test_what_was_calibrated_meanwhile_counts(shop: Shop, made: list[str]) -> None:
    with shop.recommender(PLAIN) as recommender:
        kept = Kept(recommender)
        assert all(one.probability is None for one in kept.recommend("u0", 3).items)
        found = {"fused": Fused(3.0, (0.5, -1.0)).to_json()}
        calibrated.keep(shop.workspace, recommender.judge.settings, False, found)  # by another process
        assert all(one.probability is not None for one in kept.recommend("u0", 3).items)
        calibrated.keep(shop.workspace, recommender.judge.settings, False, None)
        assert all(one.probability is None for one in kept.recommend("u0", 3).items) and len(made) == 3


def test_another_picture_is_another_list_where_answers_see_it(shop: Shop, made: list[str]) -> None:
    shop.stock("seen", pictures=True)
    with shop.recommender(Recipe(summary=False, caption=False)) as recommender:
        kept = Kept(recommender)
        for _ in range(2):
            kept.recommend("u0", 3)
        assert len(made) == 1
        shop.paint("seen", 99)
        kept.recommend("u0", 3)
        assert len(made) == 2


def test_another_picture_is_another_list_where_answers_read_its_caption(shop: Shop, made: list[str]) -> None:
    shop.stock("seen", pictures=True)
    with shop.recommender(Recipe(summary=False, image=False)) as recommender:
        recommender.captions.make()
        kept = Kept(recommender)
        (there,) = {one.caption for one in kept.recommend("u0", 9).items if one.item_id == "seen"}
        assert there and kept.recommend("u0", 9) and len(made) == 1
        shop.paint("seen", 99)  # and nobody has captioned it since
        (gone,) = {one.caption for one in kept.recommend("u0", 9).items if one.item_id == "seen"}
        assert gone is None and len(made) == 2


def test_a_column_that_a_file_brings_meanwhile_is_shown(shop: Shop, made: list[str]) -> None:
    with shop.recommender(PLAIN) as recommender:
        kept = Kept(recommender)
        kept.recommend("u0", 3)
        shop.record.take()
        rows = [ItemRow(n, one, f"Film {one}", {"kind": "film", "mood": "sad" if n % 2 else "merry"}, None)
                for n, one in enumerate(ITEMS)]  # fmt: skip
        catalogue.add_items(shop.workspace, shop.folder / "items.csv", rows)
        kept.recommend("u0", 3)
        asked = shop.record.take()
    with shop.recommender(PLAIN) as fresh:
        fresh.recommend("u0", 3)
    assert len(made) == 3 and any("Mood: sad" in one for one in asked) and not shop.record.take()


def test_what_is_learned_of_the_columns_is_kept_for_the_next_command(shop: Shop) -> None:
    with shop.recommender(PLAIN) as recommender:
        assert shop.workspace.setting(COLUMNS) is None
        recommender.recall.now()
        assert shop.workspace.setting(COLUMNS)["kinds"] == {"kind": "constant"}


def test_the_oldest_go_when_there_are_too_many(shop: Shop, made: list[str]) -> None:
    with shop.recommender(PLAIN) as recommender:
        kept = Kept(recommender, most=6)
        for user in ("u0", "u1", "u0", "u2", "u0", "u1"):
            kept.recommend(user, 3)
    assert made == ["u0", "u1", "u2", "u1"]
