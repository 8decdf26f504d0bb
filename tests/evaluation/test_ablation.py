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
from msr_local.evaluation.experiment import Experiment, Options
from msr_local.evaluation.recommended import RECOMMENDED
from msr_local.recipes import RECIPES, Recipe
from msr_local.store import histories, results

FEW = Options(count=3, users=4, slow=False)


def test_the_paper_s_figures_captions_and_the_shuffles_are_among_the_variants() -> None:
    names = [one.name for one in variants(RECIPES["full"])]
    assert names == [
        "full", "without captions", "without summaries", "paper", "no-image", "direct", "blocks of 1", "blocks of 2",
        "blocks of 4", "blocks of 5", "at most the last 6", "at most the last 12", "at most the last 21",
        "history shuffled", "captions shuffled", "images shuffled",
    ]  # fmt: skip
    assert [one.name for one in variants(RECIPES["full"], tuned=True)] == ["full", "untuned", *names[1:]]


def test_what_cannot_differ_is_asked_once() -> None:
    """Without pictures in the questions, no-image is the recipe without captions; without captions, the recipe."""
    blind = [one.name for one in variants(RECIPES["full"], looks=False)]
    assert "without captions" in blind and "no-image" not in blind and "images shuffled" not in blind
    bare = [one.name for one in variants(RECIPES["full"], captions=False, looks=False)]
    assert not {"without captions", "captions shuffled", "no-image"} & {*bare} and "paper" in bare


def test_a_recipe_without_summary_or_pictures_has_no_variants_of_them() -> None:
    blind = Recipe("mine", summary=False, caption=False, image=False)
    names = [one.name for one in variants(blind)]
    assert "direct" not in names and "history shuffled" in names
    assert not {"images shuffled", "captions shuffled", "without captions", "without summaries"} & {*names}


def test_every_variant_is_measured_on_the_same_questions(shop: Shop) -> None:
    with shop.recommender(RECIPES["history"]) as recommender:
        found = ablation(Experiment(recommender, FEW), lambda recipe, _: shop.recommender(recipe))
    assert found["users"] == 4
    names = [one.name for one in variants(RECIPES["history"], captions=False)]
    assert list(found["variants"]) == names
    own: dict[str, Any] = found["variants"]["history"]
    for lost in (own["lost"], own[RECOMMENDED]["lost"]):
        assert set(lost) == {"auc_per_user", "hr@5", "mrr@5", "hr@10", "ndcg@10"}
        assert lost["hr@5"]["value"] == 0 and lost["hr@5"]["p"] == 1
    assert own[RECOMMENDED]["auc"] != own["auc"]
    assert all(0 <= one["auc"]["value"] <= 1 for one in found["variants"].values())


def asked(shop: Shop, recipe: Recipe, options: Options, shuffled: str = "") -> list[str]:
    """The questions about the test users of some options, in words."""
    with shop.recommender(recipe) as recommender:
        experiment = Experiment(recommender, options)
        experiment.recommended(recommender, shuffled)
    return shop.record.take()


def told(shop: Shop, shuffled: str) -> list[str]:
    """The questions about three users."""
    return asked(shop, RECIPES["history"], Options(count=4, users=3, slow=False), shuffled)


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
    options = Options(count=2, users=3, slow=False)
    with shop.recommender(recipe) as recommender:
        assert min(len(case.history) for case in Experiment(recommender, options).plan.test) > 3
    for shuffled in ("", "history"):
        questions = asked(shop, recipe, options, shuffled)
        read[shuffled] = [title for one in questions for title in re.findall(r"f\d\d", one)]
    assert read["history"] != read[""] and sorted(read["history"]) == sorted(read[""])


def test_shuffled_images_are_those_of_other_candidates(shop: Shop) -> None:
    for name in FILMS:
        shop.workspace.execute("UPDATE items SET image = ? WHERE item_id = ?", [str(shop.folder / f"{name}.png"), name])
        shop.paint(name, 7 * FILMS.index(name))
    recipe, options = Recipe(caption=False, summary=False), Options(count=4, users=2, slow=False)
    plain, exchanged = (asked(shop, recipe, options, shuffled) for shuffled in ("", "images"))
    assert len(exchanged) == 10 and not set(plain) & set(exchanged)
    pictures = [[question[question.index("[") + 1 :][:64] for question in some] for some in (plain, exchanged)]
    for start in (0, 5):  # each user's own candidates exchange theirs
        assert sorted(pictures[0][start : start + 5]) == sorted(pictures[1][start : start + 5])
    assert results.answer(shop.workspace, "no such key") is None


def captioned(shop: Shop) -> None:
    """Each film gets a picture and a caption that names it."""
    for place, name in enumerate(FILMS):
        shop.workspace.execute("UPDATE items SET image = ? WHERE item_id = ?", [str(shop.folder / f"{name}.png"), name])
        shop.paint(name, 7 * place)
    with shop.recommender() as recommender:
        captions = recommender.captions
        for item in histories.items(shop.workspace, FILMS):
            text = f"Scene-{item.item_id[1:]}"
            results.save_caption(shop.workspace, item, captions.settings, captions._key(item), text, "m")


BLIND = Recipe("blind", summary=False, image=False)


def test_captions_are_left_out_of_recall_too(shop: Shop) -> None:
    captioned(shop)
    for recipe, there in ((BLIND, True), (replace(BLIND, caption=False), False)):
        with shop.recommender(recipe) as recommender:
            experiment = Experiment(recommender, FEW)
            words = experiment._past(recommender).recall.tables.text.shape[1]
            experiment.recommended(recommender)
        assert all(("Scene-" in one) == there for one in shop.record.take())
        assert words == (2 if there else 1)  # that occur in several texts: film, and scene
        assert any("Scene-" in text for text in experiment.texts) == there


def test_shuffled_captions_are_those_of_other_items_wherever_they_are_read(shop: Shop) -> None:
    captioned(shop)
    with shop.recommender(BLIND) as recommender:
        recommender.captions.exchange(0)
        texts = recommender.recall.texts()
        experiment = Experiment(recommender, FEW)
        experiment.recommended(recommender)
    other = {name: re.findall(r"Scene-(\d\d)", text) for name, text in zip(FILMS, texts, strict=True)}
    assert sorted(one for (one,) in other.values()) == [name[1:] for name in FILMS]
    assert all(name[1:] != one for name, (one,) in other.items())
    pairs = [re.findall(r"Film (f\d\d)\.(?: Kind: film\.)? Picture: Scene-(\d\d)", one) for one in shop.record.take()]
    assert len(pairs) == 16 and all(pairs) and all(other[name] == [one] for some in pairs for name, one in some)
    with shop.recommender(BLIND) as recommender:  # what is kept is as it was
        assert recommender.captions.known() == {name: f"Scene-{name[1:]}" for name in FILMS}


def test_what_captions_are_worth_to_a_recommendation_is_tested(shop: Shop) -> None:
    """Ranking everything, for cold items and others."""
    captioned(shop)
    options = replace(FEW, protocol="cold-items", candidates=5)
    with shop.recommender(BLIND) as recommender:
        found = ablation(Experiment(recommender, options), lambda recipe, _: shop.recommender(recipe))
    assert found["users"] == 4 and found["negatives"] is None
    assert {"without captions", "captions shuffled", "history shuffled"} < {*found["variants"]}
    for one in found["variants"].values():
        assert set(one["lost"]) == {"hr@5", "mrr@5", "hr@10", "ndcg@10"} and "auc" not in one
        parts = [one[part]["ndcg@10"]["value"] for part in ("cold", "warm")]
        assert one[RECOMMENDED]["ndcg@10"]["value"] == pytest.approx(sum(parts) / 2)
        assert 0 < one["cold"]["lost"]["ndcg@10"]["p"] <= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
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
