"""Nothing in a training question comes from its target or after it, nor from what is kept for validation and test.

Each test makes the sets of two worlds that differ only in what must not be seen, and wants the same bytes. That
they would differ if it were seen is shown with masks that let it through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from question_shop import FEW, FILMS, FULL, TEST, VALIDATION, WORLD, Step, World, data, iso, titled

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig
from msr_local.errors import InputError
from msr_local.recall.candidates import Recall
from msr_local.recall.splits import Split
from msr_local.recipes import Recipe
from msr_local.store import histories
from msr_local.store.rows import Log
from msr_local.store.workspace import Workspace
from msr_local.training import questions as module
from msr_local.training.points import Point, slices
from msr_local.training.questions import Questions
from msr_local.training.rows import Row
from msr_local.training.settings import Settings

TOLD = re.compile(r"Film (f\d\d)")
Ask = Callable[..., Questions]
BRIEF = Recipe(summary=False)  # quick: for what has nothing to do with summaries
KINDS = [pytest.param(kind, Recipe(summary=kind == "uniform"), id=kind) for kind in ("uniform", "popularity", "hard")]


@pytest.fixture
def ask(tmp_path: Path, running: EngineProcess, tiny: EngineConfig) -> Iterator[Ask]:
    """The sets of a new workspace with these steps."""
    opened: list[Workspace] = []

    def made(steps: Iterable[Step], recipe: Recipe = FULL, **options: Any) -> Questions:
        opened.append(Workspace(tmp_path / f"home{len(opened)}"))
        world = World(opened[-1], running, tiny)
        world.stock(titled())
        world.take(steps)
        return world.ask(replace(FEW, **options), recipe=recipe)

    yield made
    for workspace in opened:
        workspace.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both cuts stay where they are, however many interactions come after them."""

    def cut(log: Log, kind: str | None) -> tuple[Split, Any]:
        part = (log.times >= VALIDATION).astype(np.int8) + (log.times >= TEST)
        return Split("time", iso(VALIDATION), iso(TEST)), part

    monkeypatch.setattr(module, "split", cut)


@pytest.fixture
def leaky(monkeypatch: pytest.MonkeyPatch) -> None:
    """All interactions count as known."""

    def everything(log: Log, known: Any, chosen: Sequence[Point], split: Split, *, training: bool) -> Iterator[Any]:
        for before, group in slices(log, known, chosen, split, training=training):
            yield np.ones_like(before), group

    monkeypatch.setattr(module, "slices", everything)


def later(start: float) -> list[Step]:
    """From `start` on: a crowd takes all films in an order of its own, and so do those who were there before."""
    names = [*(f"a{n}" for n in range(12)), *(f"u{n}" for n in range(8)), *(f"z{n}" for n in range(12))]
    films = [*FILMS[::3], *FILMS[1::3], *FILMS[2::3]]
    steps = [(name, film, start + 1 + k) for name in names for k, film in enumerate(films)]
    return sorted(steps, key=lambda step: step[2])


def parts(rows: Iterable[Row]) -> set[str]:
    return {"".join(text for _, text in row.suffix) for row in rows}


def test_the_world_is_cut_where_these_tests_hold_the_cut(ask: Ask) -> None:
    assert ask(WORLD, BRIEF).split == Split("time", iso(VALIDATION), iso(TEST))


@pytest.mark.parametrize(("kind", "recipe"), KINDS)
@pytest.mark.parametrize("start", [VALIDATION, TEST])
def test_training_does_not_see_what_comes_after_the_cuts(
    ask: Ask, held: None, kind: str, recipe: Recipe, start: float
) -> None:
    plain, planted = ask(WORLD, recipe, negatives=kind), ask([*WORLD, *later(start)], recipe, negatives=kind)
    assert data(planted, "train") == data(plain, "train")
    assert plain.folder.name != planted.folder.name  # but it is another set: its split holds back other things


@pytest.mark.parametrize(("kind", "recipe"), KINDS)
def test_validation_does_not_see_what_comes_after_the_test_cut(ask: Ask, held: None, kind: str, recipe: Recipe) -> None:
    plain, planted = ask(WORLD, recipe, negatives=kind), ask([*WORLD, *later(TEST)], recipe, negatives=kind)
    assert data(planted, "validation") == data(plain, "validation")


def test_validation_takes_no_evidence_from_the_time_of_validation(ask: Ask, held: None) -> None:
    """Other people only: one's own later steps are asked about themselves."""
    crowd = [step for step in later(VALIDATION) if step[0][0] != "u" and step[2] < TEST and step[1] < "f08"]
    made = [ask(steps, BRIEF, validation_rows=400).validation for steps in (WORLD, [*WORLD, *crowd])]
    plain, planted = ([row for row in rows if row.user[0] == "u"] for rows in made)
    assert plain == planted == made[0]
    assert len(made[1]) > len(planted)


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_mask_that_lets_the_future_through_is_caught(ask: Ask, held: None, leaky: None, name: str) -> None:
    plain, planted = ask(WORLD, BRIEF), ask([*WORLD, *later(TEST)], BRIEF)
    assert data(planted, name) != data(plain, name)
    ours, theirs = getattr(plain, name), getattr(planted, name)
    assert [(row.user, row.at) for row in ours] == [(row.user, row.at) for row in theirs]
    assert [row.recall for row in ours] != [row.recall for row in theirs]
    assert parts(ours) != parts(theirs)  # the words of the hint


def test_what_is_known_of_later_times_is_caught(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A split that gives the time of the test to training: validation then learns from it."""

    def open_end(log: Log, kind: str | None) -> tuple[Split, Any]:
        return Split("time"), ((log.times >= VALIDATION) & (log.times < TEST)).astype(np.int8)

    monkeypatch.setattr(module, "split", open_end)
    crowd = [step for step in later(TEST) if step[0][0] != "u" and step[1] < "f20"]
    plain, planted = ask(WORLD, BRIEF), ask([*WORLD, *crowd], BRIEF)
    assert data(planted, "validation") != data(plain, "validation")


# ---- inside the time of training


EARLY = 400  # the last target that is asked about


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch, held: None) -> None:
    """Training asks about the same early steps, whatever comes later."""

    def chosen(log: Log, eligible: Any, count: int, first: int, seed: int) -> list[Point]:
        starts = {int(user): int(np.flatnonzero(log.users == user)[0]) for user in np.unique(log.users)}
        found = [
            Point(int(log.users[row]), row - starts[int(log.users[row])], row)
            for row in map(int, np.flatnonzero(eligible))
            if log.user_ids[int(log.users[row])][0] == "u" and row - starts[int(log.users[row])] >= first
        ]
        if log.times[np.flatnonzero(eligible)[0]] >= VALIDATION:
            return found[:count]
        return [point for point in found if log.times[point.row] <= EARLY]

    monkeypatch.setattr(module, "points", chosen)


def test_a_question_does_not_see_what_comes_after_its_target(ask: Ask, early: None) -> None:
    """Others take all; those who are asked take again what they had taken: that leaves their negatives as they were."""
    known = {user: {film for one, film, when in WORLD if one == user and when < VALIDATION} for user, _, _ in WORLD}
    steps = [step for step in later(EARLY) if step[2] < VALIDATION and (step[0][0] != "u" or step[1] in known[step[0]])]
    assert len({user for user, _, _ in steps}) == 32
    plain, planted = ask(WORLD, ratio=2), ask([*WORLD, *steps], ratio=2)
    assert len(plain.train) > 40
    assert data(planted, "train") == data(plain, "train")


def test_what_a_user_takes_later_changes_no_question_but_is_never_a_no(ask: Ask, early: None) -> None:
    steps = [step for step in later(EARLY) if step[0][0] == "u" and step[1] < "f16" and step[2] < VALIDATION]
    plain, planted = ask(WORLD, BRIEF), ask([*WORLD, *steps], BRIEF)
    yes, also_yes = ([row for row in made.train if row.answer == "Yes"] for made in (plain, planted))
    assert yes == also_yes
    assert any(row.item_id < "f16" for row in plain.train if row.answer == "No")
    assert all(row.item_id >= "f16" for row in planted.train if row.answer == "No")


def test_a_mask_that_lets_later_training_through_is_caught(ask: Ask, early: None, leaky: None) -> None:
    steps = [step for step in later(EARLY) if step[2] < VALIDATION and step[0][0] != "u"]
    assert data(ask([*WORLD, *steps], BRIEF), "train") != data(ask(WORLD, BRIEF), "train")


def test_the_words_of_a_question_are_those_of_its_own_past(ask: Ask) -> None:
    made = ask(WORLD, BRIEF, rows=80)
    for row in (*made.train, *made.validation):
        films = [film for user, film, _ in WORLD if user == row.user]
        history, target = films[: row.at], films[row.at]
        shown = TOLD.findall("".join(text for _, text in row.prefix))
        assert shown == history[-10:]
        candidate, *hint = TOLD.findall("".join(text for _, text in row.suffix))
        assert candidate == row.item_id
        assert {*hint} <= {*history}
        assert (row.answer == "Yes") == (row.item_id == target)
    assert any(" with Film" in text for text in parts(made.train))


def test_no_summary_is_written_of_a_target_or_what_follows(world: World) -> None:
    world.take(WORLD)
    made = world.ask()
    told = [TOLD.findall(text) for text in world.record.take()]
    asked = {(row.user, row.at) for row in (*made.train, *made.validation)}
    films = {user: [film for one, film, _ in WORLD if one == user] for user, _, _ in WORLD}
    blocks = [films[user][k : min(k + 3, at)] for user, at in asked for k in range(0, at, 3)]
    assert told and all(one in blocks for one in told)
    with world.recommender(FULL) as recommender:
        for row in (*made.train, *made.validation):
            history = recommender.history(row.user)[: row.at]
            (*_, last) = recommender.preferences.chain(row.user, history, past=True)
            assert f"likes: {last.summary}\n" in row.prompt
    assert world.record.take() == []
    assert not world.workspace.one("SELECT count(*) FROM preferences")


# ---- where there is an order but no times


def timeless(steps: Iterable[Step]) -> list[Step]:
    return [(user, film, None) for user, film, _ in steps]


def other_ends(count: int) -> list[Step]:
    """The world without times, in which everybody's last `count` steps go to films of the others' liking."""
    films = {user: [film for one, film, _ in WORLD if one == user] for user, _, _ in WORLD}
    changed = {user: [*mine[:-count], *["f00", "f01"][:count]] for user, mine in films.items()}
    return [(user, film, None) for user, mine in changed.items() for film in mine]


@pytest.mark.parametrize(("kind", "recipe"), KINDS)
def test_without_times_training_does_not_see_the_last_two_of_anybody(ask: Ask, kind: str, recipe: Recipe) -> None:
    plain, changed = ask(timeless(WORLD), recipe, negatives=kind), ask(other_ends(2), recipe, negatives=kind)
    assert plain.split == changed.split == Split("order")
    assert data(changed, "train") == data(plain, "train")
    assert data(changed, "validation") != data(plain, "validation")


@pytest.mark.parametrize(("kind", "recipe"), KINDS)
def test_without_times_validation_does_not_see_the_last_of_anybody(ask: Ask, kind: str, recipe: Recipe) -> None:
    plain, changed = ask(timeless(WORLD), recipe, negatives=kind), ask(other_ends(1), recipe, negatives=kind)
    assert data(changed, "validation") == data(plain, "validation")
    assert data(changed, "train") == data(plain, "train")


@pytest.mark.parametrize("name", ["train", "validation"])
def test_without_times_a_mask_that_lets_all_through_is_caught(ask: Ask, leaky: None, name: str) -> None:
    plain, changed = ask(timeless(WORLD), BRIEF), ask(other_ends(1), BRIEF)
    assert [row.recall for row in getattr(changed, name)] != [row.recall for row in getattr(plain, name)]


# ---- against recall computed here


@pytest.fixture
def world(workspace: Workspace, running: EngineProcess, tiny: EngineConfig) -> World:
    made = World(workspace, running, tiny)
    made.stock(titled())
    return made


def recalled(world: World, row: Row, known: Callable[[Log], Any]) -> float:
    """What recall says of a row's item if these interactions are known."""
    log, texts = histories.log(world.workspace), histories.texts(world.workspace)
    chosen = known(log)
    films = [film for user, film, _ in WORLD if user == row.user]
    return (
        Recall(log.item_ids, log.users[chosen], log.items[chosen], texts).candidate(films[: row.at], row.item_id).recall
    )


def test_recall_is_that_of_a_moment_before_the_target(world: World) -> None:
    world.take(WORLD)
    made = world.ask(recipe=BRIEF)
    when = {(row.user, row.at): [t for user, _, t in WORLD if user == row.user][row.at] for row in made.train}
    for row in made.train:
        moments = [t for t in when.values() if t is not None and t <= (when[row.user, row.at] or 0)]
        assert row.recall in [recalled(world, row, lambda log, t=t: log.times < t) for t in moments]
    for row in made.validation:
        assert row.recall == recalled(world, row, lambda log: log.times < VALIDATION)


def test_without_times_recall_is_that_of_all_other_people(world: World) -> None:
    """Of eight people, each is asked about with the other seven as evidence, all but their last two steps."""
    world.take(timeless(WORLD))
    made = world.ask(recipe=BRIEF)

    def training(log: Log) -> Any:
        return np.array([row + 2 < len(log.users) and log.users[row + 2] == user for row, user in enumerate(log.users)])

    for row in made.train:
        assert row.recall == recalled(world, row, lambda log, me=row.user: training(log) & (log.users != int(me[1:])))
    for row in made.validation:
        assert row.recall == recalled(world, row, training)


# ---- users held back


def test_with_users_held_back_nobody_is_in_two_parts_and_some_are_in_none(world: World) -> None:
    people = [f"p{n:02}" for n in range(60)]
    world.take([(user, film, None) for n, user in enumerate(people) for film in FILMS[n % 7 : n % 7 + 6]])
    made = world.ask(Settings(rows=400, validation_rows=100, split="users"), recipe=BRIEF)
    train, validation = ({row.user for row in part} for part in (made.train, made.validation))
    assert made.split == Split("users") and len(train) > 30 and validation
    assert not train & validation and train | validation < set(people)


def test_a_split_by_time_without_times_is_refused(world: World) -> None:
    world.take([(user, film, None) for user, film, _ in WORLD])
    with pytest.raises(InputError, match=r"cannot be split by time.*Next: --split order"):
        world.ask(Settings(split="time"), recipe=BRIEF)
