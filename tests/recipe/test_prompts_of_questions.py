"""An adapter knows the prompts of all that its questions read, so that none can be another one unseen."""

from __future__ import annotations

import pytest
from recipe.recipe_shop import Shop

from msr_local.prompts import PromptTemplate
from msr_local.recipes import RECIPES

WRITTEN = {"preference_first", "preference_update"}


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (RECIPES["full"], {"score", "item_caption", *WRITTEN}),
        (RECIPES["no-image"], {"score", *WRITTEN}),
        (RECIPES["history"], {"score", "item_caption"}),
        (RECIPES["full"].with_history(None, None, True), {"score", "item_caption", "preference_direct"}),
    ],
)
def test_they_are_those_of_the_recipe(recipe_shop: Shop, recipe: object, expected: set[str]) -> None:
    with recipe_shop.recommender(recipe) as recommender:  # type: ignore[arg-type]
        assert recommender.prompts == {name: PromptTemplate(name).sha256 for name in recommender.prompts}
        assert set(recommender.prompts) == expected
