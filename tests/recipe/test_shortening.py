"""How a scoring question is made to fit: the oldest of the history goes first, then descriptions are cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from recipe.recipe_shop import Record, Shop, Watched

from msr_local.engine.types import IMAGE_MARK, Question
from msr_local.errors import ContextOverflow
from msr_local.models.spec import Fused, Scorer
from msr_local.recipe.descriptions import TOKENS, choose
from msr_local.recipe.judge import Asked, Cut
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import Recipe

FILMS = [f"f{n:02}" for n in range(14)]
PLAIN = Recipe(image=False, caption=False)
SUMMARY = "Slow films about the sea."


@pytest.fixture
def shop(recipe_shop: Shop) -> Shop:
    """Fourteen films with pictures; the user u took the first twelve, and long titles make long questions."""
    recipe_shop.stock(*FILMS, pictures=True)
    recipe_shop.take("u", *FILMS[:12])
    recipe_shop.rename("f13", "Film f13 " + "with a title of many words " * 5)
    return recipe_shop


def asked(recommender: Recommender, item_id: str = "f13") -> Asked:
    history = recommender.history("u")
    candidate = recommender.recall.now().candidate([step.item.item_id for step in history], item_id)
    return recommender.judge.ask(candidate, SUMMARY, history)


def written(question: Question) -> str:
    picture = question.own.replace(IMAGE_MARK, "[picture]")
    return "\n".join([question.system, question.shared, picture, question.opening])


def shown(question: Question) -> list[str]:
    """The history in a question."""
    return [line[2:] for line in written(question).split("\n") if line.startswith("- ")]


def size(recommender: Recommender, question: Question) -> int:
    read = recommender.judge.tokens.rendered(question)
    return len(recommender.judge.tokens.token_ids([*read.prefix, *read.suffix]))


@pytest.mark.parametrize("recipe", [PLAIN, Recipe()], ids=["text", "picture"])
def test_what_fits_is_not_touched(shop: Shop, recipe: Recipe) -> None:
    with shop.recommender(recipe) as recommender:
        one = asked(recommender)
        cut, question = recommender.judge.fitted(one)
        assert cut == Cut(0, TOKENS)
        assert shown(question) == [*one.evidence.history]
        assert len(one.evidence.history) == 10
        exact = size(recommender, question)
        assert recommender.judge.fitted(one, exact) == (cut, question)
        assert recommender.judge.question(one) == question
        assert recommender.judge.fitted(one, exact - 1)[0] == Cut(1, TOKENS)


@pytest.mark.parametrize("recipe", [PLAIN, Recipe()], ids=["text", "picture"])
def test_each_smaller_limit_takes_the_oldest_titles_first_and_then_descriptions(shop: Shop, recipe: Recipe) -> None:
    cuts = []
    with shop.recommender(recipe) as recommender:
        one = asked(recommender)
        history = [*one.evidence.history]
        whole = size(recommender, recommender.judge.question(one))
        for limit in range(whole, 0, -3):
            try:
                cut, question = recommender.judge.fitted(one, limit)
            except ContextOverflow as error:
                assert "--max-length" in str(error)
                break
            cuts.append(cut)
            assert size(recommender, question) <= limit
            assert shown(question) == history[cut.dropped :]
            assert SUMMARY in written(question)
            assert cut.dropped == len(history) or cut.room == TOKENS
            assert ("…" in written(question)) == (cut.room < TOKENS)
            assert ("[picture]" in written(question)) == recipe.image
    assert [cut.dropped for cut in cuts] == sorted(cut.dropped for cut in cuts)
    assert [cut.room for cut in cuts] == sorted((cut.room for cut in cuts), reverse=True)
    assert {cut.dropped for cut in cuts} == {*range(11)}
    assert cuts[-1].dropped == 10 and cuts[-1].room <= 8


def test_no_title_goes_that_could_have_stayed(shop: Shop) -> None:
    with shop.recommender(PLAIN) as recommender:
        one = asked(recommender)
        sizes = []
        for dropped in range(11):
            less = replace(one, evidence=replace(one.evidence, history=one.evidence.history[dropped:]))
            sizes.append(size(recommender, recommender.judge.question(less)))
        for limit in range(sizes[-1], sizes[0] + 5):
            fits = next(dropped for dropped, tokens in enumerate(sizes) if tokens <= limit)
            assert recommender.judge.fitted(one, limit)[0] == Cut(fits, TOKENS)


def test_a_question_without_history_loses_its_descriptions_at_once(shop: Shop) -> None:
    with shop.recommender(PLAIN) as recommender:
        one = asked(recommender)
        bare = replace(one, evidence=replace(one.evidence, history=()))
        whole = size(recommender, recommender.judge.question(bare))
        cut, question = recommender.judge.fitted(bare, whole - 1)
        assert cut.dropped == 0
        assert cut.room < TOKENS
        assert "Film f13" in written(question)


def test_a_limit_over_the_context_is_the_context(shop: Shop) -> None:
    for n, film in enumerate(FILMS):
        shop.rename(film, chr(0x4E00 + n) * 4000)
    choose(shop.workspace, None, 600)
    with shop.recommender(Recipe(image=False, caption=False, recent=12)) as recommender:
        one = asked(recommender)
        cut, question = recommender.judge.fitted(one, 10**6)
        assert cut.dropped > 0
        assert size(recommender, question) <= recommender.judge.tokens.facts.context == 1024
        assert recommender.judge.fitted(one) == (cut, question)


def test_a_tuned_model_is_asked_in_as_many_tokens_as_it_was_trained_with(shop: Shop) -> None:
    scorer = Scorer("mine", True, "adapter", Path("mine.gguf"), "c" * 64, 150, Fused(1.0), PLAIN, "r1", {})
    tuned = replace(shop.cast, scorer=scorer, recipe=PLAIN)
    with (
        Recommender(shop.workspace, tuned, open_engine=lambda _: Watched(shop.engine, Record())) as recommender,
        shop.recommender(PLAIN) as plain,
    ):
        one = asked(recommender)
        question = recommender.judge.question(one)
        assert size(recommender, question) <= 150
        assert shown(question) == [*one.evidence.history[-len(shown(question)) :]]
        assert plain.judge.fitted(one, 150)[1] == question != plain.judge.question(one)
        assert recommender.judge.fitted(one, 200)[1] == plain.judge.fitted(one, 200)[1]
        assert recommender.judge.key(one) != plain.judge.key(one)
