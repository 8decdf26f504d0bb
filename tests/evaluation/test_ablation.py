"""What each part of the recipe is worth: which variants are asked, and that a shuffle shuffles."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from evaluation_shop import FILMS
from recipe.recipe_shop import Shop

from msr_local.errors import InputError
from msr_local.evaluation.ablation import ablation, variants
from msr_local.evaluation.answers import Answers
from msr_local.evaluation.experiment import Experiment, Options
from msr_local.recipes import RECIPES, Recipe
from msr_local.store import results

FEW = Options(count=3, users=4, validation_users=1, slow=False)


def test_the_paper_s_figures_and_the_two_shuffles_are_among_the_variants() -> None:
    names = [one.name for one in variants(RECIPES["full"])]
    assert names == [
        "full", "paper", "no-image", "history", "direct", "blocks of 1", "blocks of 2", "blocks of 4", "blocks of 5",
        "at most the last 6", "at most the last 12", "at most the last 21", "history shuffled", "images shuffled",
    ]  # fmt: skip
    assert [one.name for one in variants(RECIPES["full"], tuned=True)] == ["full", "untuned", *names[1:]]


def test_a_recipe_without_summary_or_pictures_has_no_variants_of_them() -> None:
    blind = Recipe("mine", summary=False, caption=False, image=False)
    names = [one.name for one in variants(blind)]
    assert "direct" not in names and "images shuffled" not in names and "history shuffled" in names


def test_every_variant_is_measured_on_the_same_questions(shop: Shop) -> None:
    with shop.recommender(RECIPES["history"]) as recommender:
        found = ablation(Experiment(recommender, FEW), lambda recipe, _: shop.recommender(recipe))
    assert found["users"] == 4
    names = [one.name for one in variants(RECIPES["history"])]
    assert list(found["variants"]) == names
    own: dict[str, Any] = found["variants"]["history"]
    assert own["lost"]["hr@5"]["value"] == 0 and own["lost"]["hr@5"]["p"] == 1
    assert all(0 <= one["auc"]["value"] <= 1 for one in found["variants"].values())


def told(shop: Shop, shuffled: str) -> list[str]:
    """The questions about three users."""
    with shop.recommender(RECIPES["history"]) as recommender:
        experiment = Experiment(recommender, Options(count=4, users=3, slow=False))
        half = experiment.test
        answers = Answers(recommender, experiment.log, shuffled=shuffled)
        list(answers(half.cases, half.recall, half.candidates))
    return shop.record.take()


def test_a_shuffled_history_holds_the_same_titles_in_another_order(shop: Shop) -> None:
    plain, shuffled = told(shop, ""), told(shop, "history")
    assert len(plain) == len(shuffled) == 15
    for a, b in zip(plain, shuffled, strict=True):
        assert sorted(a.split("\n")) == sorted(b.split("\n"))
    assert plain != shuffled


@pytest.mark.parametrize("name", ["history", "full"])
def test_a_shuffle_reads_what_is_read_in_order_and_nothing_older(shop: Shop, name: str) -> None:
    """Histories longer than what is read: only the order may differ, in the question and in what is summarised."""
    recipe = replace(RECIPES[name], recent=3, block_size=2, window=4, hint=False)
    read: dict[str, list[str]] = {}
    for shuffled in ("", "history"):
        with shop.recommender(recipe) as recommender:
            experiment = Experiment(recommender, Options(count=2, users=3, slow=False))
            half = experiment.test
            assert min(len(case.history) for case in half.cases) > 3
            list(Answers(recommender, experiment.log, shuffled=shuffled)(half.cases, half.recall, half.candidates))
        read[shuffled] = [title for asked in shop.record.take() for title in re.findall(r"f\d\d", asked)]
    assert read["history"] != read[""] and sorted(read["history"]) == sorted(read[""])


def test_shuffled_images_are_those_of_other_candidates(shop: Shop) -> None:
    for name in FILMS:
        shop.workspace.execute("UPDATE items SET image = ? WHERE item_id = ?", [str(shop.folder / f"{name}.png"), name])
        shop.paint(name, 7 * FILMS.index(name))
    with shop.recommender(Recipe(caption=False, summary=False)) as recommender:
        experiment = Experiment(recommender, Options(count=4, users=2, slow=False))
        half = experiment.test
        for shuffled in ("", "images"):
            answers = Answers(recommender, experiment.log, shuffled=shuffled)
            list(answers(half.cases, half.recall, half.candidates))
    asked = shop.record.take()
    plain, exchanged = asked[:10], asked[10:]
    assert len(exchanged) == 10 and not set(plain) & set(exchanged)
    pictures = [[question[question.index("[") + 1 :][:64] for question in some] for some in (plain, exchanged)]
    for start in (0, 5):  # each user's own candidates exchange theirs
        assert sorted(pictures[0][start : start + 5]) == sorted(pictures[1][start : start + 5])
    assert results.answer(shop.workspace, "no such key") is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(full=True), "Next: leave out --full"),
        (Options(questions=False), "Next: leave out --no-questions"),  # nor does the guard against leaks run then
        (Options(model=False), "and --no-model"),
    ],
)
def test_an_ablation_of_what_cannot_be_is_refused_before_anything_is_asked(
    shop: Shop, options: Options, said: str
) -> None:
    with shop.recommender() as recommender, pytest.raises(InputError, match=said):
        ablation(Experiment(recommender, options), lambda *_: recommender)
    assert shop.record.opened == 0
