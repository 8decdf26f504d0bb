"""Long candidate lists: each question once, a score of its own, and the ranking as the workspace keeps it."""

from __future__ import annotations

import pytest
from recipe.recipe_shop import Shop

from msr_local.errors import InputError
from msr_local.recipe.similar import similar
from msr_local.recipe.views import RecommendationList
from msr_local.recipes import RECIPES

FILMS = [f"f{n:02}" for n in range(45)]


@pytest.fixture
def shop(recipe_shop: Shop) -> Shop:
    """Forty-five films; u took three, and a few others took some."""
    recipe_shop.stock(*FILMS)
    recipe_shop.take("u", *FILMS[:3])
    for n in range(5):
        recipe_shop.take(f"v{n}", *FILMS[n : n + 12])
    return recipe_shop


def recommend(shop: Shop, **options: int) -> RecommendationList:
    with shop.recommender(RECIPES["history"]) as recommender:
        return recommender.recommend("u", **options)


def test_more_candidates_than_fit_one_batch_are_asked_once_each(shop: Shop) -> None:
    found = recommend(shop, k=100)
    asked = shop.record.take()
    assert len(asked) == len(set(asked)) == len(found.items) == 42
    for one in found.items:
        assert sum(f"Answer Yes or No.\n\n{one.title}." in question for question in asked) == 1


def test_a_score_does_not_depend_on_the_other_candidates(shop: Shop) -> None:
    many = {one.item_id: one.log_odds for one in recommend(shop, k=42).items}
    for few in (1, 5):
        with shop.workspace.write():
            shop.workspace.execute("DELETE FROM scores")
        for one in recommend(shop, k=few, candidates=few).items:
            assert one.log_odds == pytest.approx(many[one.item_id], abs=0.02)


def test_more_candidates_ask_only_about_the_new_ones(shop: Shop) -> None:
    recommend(shop, k=1, candidates=10)
    first = shop.record.take()
    recommend(shop, k=1, candidates=30)
    assert (len(first), len(shop.record.take())) == (10, 20)


def test_more_wanted_than_candidates_asks_about_as_many_as_wanted(shop: Shop) -> None:
    assert len(recommend(shop, k=20, candidates=5).items) == 20


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_of_no_items_is_refused_in_words(shop: Shop, k: int) -> None:
    with pytest.raises(InputError, match=f"k={k}: .* Next: "):
        recommend(shop, k=k)
    with shop.recommender(RECIPES["history"]) as recommender:
        assert recommender.recall.now().candidates(["f00"], k) == similar(recommender, "f00", k).items == []


def test_the_workspace_keeps_the_ranking_as_it_was_answered(shop: Shop) -> None:
    found = recommend(shop, k=42)
    view = "SELECT rank, item_id, title, p_yes, log_odds, score FROM recommendations WHERE user_id = 'u' ORDER BY rank"
    assert shop.workspace.execute(view).fetchall() == [
        (one.rank, one.item_id, one.title, one.p_yes, one.log_odds, one.score) for one in found.items
    ]
    recommend(shop, k=3, candidates=3)
    assert len(shop.workspace.execute(view).fetchall()) == 3


def test_questions_of_one_user_share_all_but_the_candidate(shop: Shop) -> None:
    recommend(shop)
    heads = {question.partition("Answer Yes or No.")[0] for question in shop.record.take()}
    assert len(heads) == 1
    assert "- Film f00.\n- Film f01.\n- Film f02.\n" in heads.pop()


def test_the_answer_says_what_made_it(shop: Shop) -> None:
    found = recommend(shop, k=1, candidates=4)
    assert found.model["sha256"] == "a" * 64
    assert found.model["recipe"] == RECIPES["history"].to_json()
    assert 0 <= found.model["coverage"] <= 1
    assert found.timing["candidates"] == 4
    assert found.timing["total_s"] >= 0
