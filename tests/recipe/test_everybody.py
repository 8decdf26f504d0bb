"""Lists for many users: the same as one by one, kept as they are made, and made again only where something changed."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from read_only import read_only
from recipe.recipe_shop import Shop

from msr_local.engine.fake import FakeEngine
from msr_local.engine.types import Question
from msr_local.errors import ContextOverflow, FileError
from msr_local.recipe.everybody import Made, recommend_to
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import RECIPES, Recipe
from msr_local.store import catalogue
from msr_local.store.rows import InteractionRow

USERS = ["u0", "u1", "u2", "u3"]
ITEMS = [f"i{n}" for n in range(7)]


@pytest.fixture
def busy(recipe_shop: Shop) -> Shop:
    """Seven films, and four users who took two to five of them."""
    recipe_shop.stock(*ITEMS)
    for n, user in enumerate(USERS):
        recipe_shop.take(user, *ITEMS[n : n + 2 + n % 3])
    return recipe_shop


def made(shop: Shop, users: list[str] = USERS, recipe: Recipe | None = None, k: int = 3, **how: Any) -> Made:
    with shop.recommender(recipe) as recommender:
        return recommend_to(recommender, users, shop.folder / "out.csv", k, **how)


def rows(shop: Shop) -> list[tuple[str, ...]]:
    with (shop.folder / "out.csv").open(newline="") as file:
        return [(one["user"], one["rank"], one["item_id"], one["score"]) for one in csv.DictReader(file)]


@pytest.mark.parametrize("recipe", ["full", "history"])
def test_each_list_is_the_one_that_a_user_gets_alone(busy: Shop, recipe: str) -> None:
    run = made(busy, recipe=RECIPES[recipe])
    assert (sorted(run.made), run.present, run.failed) == (USERS, [], [])
    busy.record.take()
    with busy.recommender(RECIPES[recipe]) as recommender:
        alone = [(user, recommender.recommend(user, 3).items) for user in USERS]
    assert busy.record.take() == []
    told = [(user, str(one.rank), one.item_id, str(one.score)) for user, items in alone for one in items]
    assert rows(busy) == told and run.rows == len(told) == 12


def test_who_is_up_to_date_is_skipped(busy: Shop) -> None:
    made(busy)
    before, opened = rows(busy), busy.record.opened
    again = made(busy, ["u3", "u1"])
    assert (again.made, again.present) == ([], ["u3", "u1"])
    assert busy.record.opened == opened
    assert rows(busy) == [row for user in ("u3", "u1") for row in before if row[0] == user]
    assert sorted(made(busy, k=2).made) == USERS  # another list
    assert made(busy).present == USERS  # which did not replace this one


@pytest.mark.parametrize("patience", [0, 1, 5, 12, 20])
def test_an_interrupted_run_goes_on_where_it_was(busy: Shop, patience: int) -> None:
    busy.record.patience = patience
    with pytest.raises(KeyboardInterrupt):
        made(busy)
    assert not (busy.folder / "out.csv").exists()
    first = busy.record.take()
    busy.record.patience = float("inf")
    run = made(busy)
    assert sorted([*run.made, *run.present]) == USERS
    asked = [*first, *busy.record.take()]
    assert len(asked) == len(set(asked))  # nothing is asked twice
    assert len(rows(busy)) == 12


def test_a_user_who_is_not_there_does_not_stop_the_others(busy: Shop) -> None:
    run = made(busy, ["u0", "nobody", "u1"])
    assert sorted(run.made) == ["u0", "u1"] and {row[0] for row in rows(busy)} == {"u0", "u1"}
    ((user, why),) = run.failed
    assert user == "nobody" and "no user 'nobody'" in why


def test_a_user_who_is_named_twice_gets_one_list(busy: Shop) -> None:
    run = made(busy, ["u0", "u1", "u0"])
    asked = busy.record.take()
    assert sorted(run.made) == ["u0", "u1"] and run.rows == 6 and len(asked) == len(set(asked))


class Narrow(FakeEngine):
    """A context in which films i2 to i4 have no room together; it shows when a summary is asked for, or before."""

    def __init__(self, *, early: bool) -> None:
        super().__init__(watch=self._refuse)
        self._early = early

    def _long(self, question: Question) -> bool:
        return "Film i2" in question.own and "Film i4" in question.own and question.opening.startswith("This person")

    def _refuse(self, question: Question) -> None:
        if self._long(question):
            raise ContextOverflow("the question is too long")

    def fits(self, question: Question, room: int) -> bool:
        return not (self._early and self._long(question))


@pytest.mark.parametrize("early", [True, False])
def test_a_user_whose_history_is_too_long_for_the_model_does_not_stop_the_others(busy: Shop, early: bool) -> None:
    narrow = Recommender(busy.workspace, busy.cast, open_engine=lambda _: Narrow(early=early))
    with narrow as recommender:
        run = recommend_to(recommender, USERS, busy.folder / "out.csv", 3)
    ((user, why),) = run.failed
    assert user == "u2" and "too long" in why.replace("longer than", "too long")
    assert sorted(run.made) == ["u0", "u1", "u3"] == sorted({row[0] for row in rows(busy)})


@pytest.mark.parametrize("where", ["a_file/out.csv", "a_folder.csv", f"{'x' * 300}.csv", "shut/out.csv"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_asked(busy: Shop, where: str) -> None:
    (busy.folder / "a_file").write_text("no folder")
    (busy.folder / "a_folder.csv").mkdir()
    (busy.folder / "shut").mkdir()
    refused = pytest.raises(FileError, match=r"cannot be written .* Next:")
    with busy.recommender() as recommender, read_only(busy.folder / "shut"), refused:
        recommend_to(recommender, USERS, busy.folder / where)
    assert busy.record.take() == [] and not [*busy.folder.glob("**/*.unfinished")]


@pytest.mark.parametrize("change", ["interaction", "low rating", "title", "picture", "description"])
def test_what_changes_makes_lists_again(busy: Shop, change: str) -> None:
    if change == "picture":
        busy.stock("seen", pictures=True)
    made(busy)
    if change == "interaction":
        busy.take("u0", "i6")
    elif change == "low rating":
        row = InteractionRow(9, "u0", "i6", "2020-01-01T00:00:00+00:00", 1.0)
        catalogue.add_interactions(busy.workspace, busy.folder / "low.csv", [row], min_rating=3)
    elif change == "title":
        busy.rename("i6", "Another film")
    elif change == "picture":
        busy.paint("seen", 99)
    else:
        from msr_local.recipe.descriptions import choose

        choose(busy.workspace, ["kind"], 32)
    run = made(busy)
    assert "u0" in run.made
    if change == "low rating":
        assert run.made == ["u0"]
    if change in ("interaction", "low rating"):
        assert "i6" not in [item for user, _, item, _ in rows(busy) if user == "u0"]


def test_a_history_that_grows_meanwhile_leaves_a_list_that_is_made_again(busy: Shop) -> None:
    told: list[int] = []

    def grow(stage: str, done: int, total: int, detail: str = "") -> None:
        if done == 1 and not told:
            told.append(done)
            busy.take("u3", "i0")

    made(busy, progress=grow)
    assert told and "u3" in made(busy).made
    assert "i0" not in [item for user, _, item, _ in rows(busy) if user == "u3"]


def test_only_some_items(busy: Shop) -> None:
    made(busy, only=frozenset({"i5", "i6"}))
    assert {row[2] for row in rows(busy)} <= {"i5", "i6"}
    assert sorted(made(busy).made) == USERS
