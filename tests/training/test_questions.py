"""Training and validation sets: what is in them, what stops and goes on, what makes another one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from question_shop import FEW, FILMS, WORLD, Step, World, both, data, films_of, stop_at, titled

from msr_local.errors import InputError
from msr_local.files import package_data
from msr_local.recipe import descriptions
from msr_local.recipes import Recipe
from msr_local.store.rows import ItemRow
from msr_local.training.settings import Settings

BRIEF = Recipe(summary=False)  # quick: for what has nothing to do with summaries


# ---- what is in a set


def test_a_set_has_as_many_rows_as_were_asked_for_and_every_second_is_a_no(world: World) -> None:
    made = world.ask()
    assert (len(made.train), len(made.validation)) == (36, 16)
    assert [row.answer for row in both(made)] == ["Yes", "No"] * 26
    for yes, no in zip(both(made)[::2], both(made)[1::2], strict=True):
        assert (yes.user, yes.at, yes.prefix) == (no.user, no.at, no.prefix)
        assert yes.item_id != no.item_id
    assert not {(r.user, r.at) for r in made.train} & {(r.user, r.at) for r in made.validation}


@pytest.mark.parametrize(("ratio", "count"), [(1, 36), (2, 36), (3, 36), (4, 35)])
def test_the_ratio_is_the_negatives_for_each_positive(world: World, ratio: int, count: int) -> None:
    made = world.ask(replace(FEW, ratio=ratio), recipe=BRIEF)
    answers = Counter(row.answer for row in made.train)
    assert answers["No"] == ratio * answers["Yes"]
    assert len(made.train) == count


@pytest.mark.parametrize("kind", ["uniform", "popularity", "hard"])
def test_a_no_is_nothing_that_the_user_took_in_the_time_of_training_or_before_the_target(
    world: World, kind: str
) -> None:
    made = world.ask(Settings(rows=150, validation_rows=40, negatives=kind, ratio=3), recipe=BRIEF)
    negatives = [row for row in both(made) if row.answer == "No"]
    assert len(negatives) > 100
    for row in negatives:
        assert row.item_id not in films_of(row.user, before=800)
        assert row.item_id not in films_of(row.user)[: row.at + 1]
    groups = Counter((row.user, row.at, row.item_id) for row in both(made))
    assert set(groups.values()) == {1}


def test_the_answer_is_what_the_user_took_next(world: World) -> None:
    for row in both(world.ask(recipe=BRIEF)):
        assert (row.answer == "Yes") == (row.item_id == films_of(row.user)[row.at])


def test_recall_of_a_row_is_a_share_and_knows_something(world: World) -> None:
    made = both(world.ask(recipe=BRIEF))
    assert all(0 <= row.recall <= 1 for row in made)
    assert len({row.recall for row in made}) > 20


def test_the_same_world_makes_the_same_bytes_and_another_seed_makes_others(world: World, elsewhere: World) -> None:
    here, there = world.ask(), elsewhere.ask()
    assert [data(here, name) for name in ("train", "validation")] == [
        data(there, name) for name in ("train", "validation")
    ]
    assert here.folder.name == there.folder.name
    other = elsewhere.ask(replace(FEW, seed=1))
    assert [(row.user, row.at) for row in other.train] != [(row.user, row.at) for row in here.train]


def test_the_facts_of_a_set_are_counted_from_its_rows(world: World) -> None:
    made = world.ask(replace(FEW, max_length=140))
    facts = json.loads(json.dumps(made.facts()))
    lengths = sorted(len(row.ids) for row in both(made))
    assert facts["train"] == {"rows": 36, "yes": 18, "no": 18, "users": len({row.user for row in made.train})}
    assert facts["validation"]["rows"] == 16
    assert (facts["tokens"]["p0"], facts["tokens"]["p100"]) == (lengths[0], lengths[-1])
    assert facts["history_shortened"] == sum(row.dropped > 0 for row in both(made)) > 0
    assert facts["descriptions_shortened"] == 0
    assert facts["split"]["kind"] == "time"


def test_a_tiny_catalogue_has_fewer_negatives(empty: World) -> None:
    empty.stock(titled(FILMS[:6]))
    steps = [(f"u{n % 20}", FILMS[(n // 20 + n % 20) % 6], 10.0 * n) for n in range(120)]
    empty.take(steps)
    made = empty.ask(Settings(rows=60, validation_rows=60, ratio=4), recipe=BRIEF)
    answers = Counter(row.answer for row in made.train)
    assert 0 < answers["No"] <= 2 * answers["Yes"]
    for row in made.train:
        assert row.answer == "Yes" or row.item_id not in films_of(row.user, steps, before=960)


def test_who_takes_an_item_again_is_not_asked_about_it_again(empty: World) -> None:
    empty.stock(titled())
    steps = [(user, film, when) for user, film, when in WORLD]
    again = [(user, films_of(user)[0], 10.0 * n + 5) for n, (user, *_) in enumerate(WORLD) if n > 40]
    empty.take(sorted([*steps, *again], key=lambda step: step[2] or 0))
    made = empty.ask(Settings(rows=200, validation_rows=40), recipe=BRIEF)
    for row in both(made):
        assert row.item_id != films_of(row.user)[0]
    assert any(row.prompt.count(f"Film {films_of(row.user)[0]}.") > 1 for row in both(made))


def test_equal_times_are_on_one_side_of_the_cut(empty: World) -> None:
    """Twenty steps at the moment at which validation begins."""
    empty.stock(titled())
    steps = [(user, film, 800.0 if 750 <= (when or 0) < 950 else when) for user, film, when in WORLD]
    late = [(f"v{n}", film, 1000.0 + n) for n in range(4) for film in FILMS[:3]]
    empty.take([*steps, *late])
    made = empty.ask(Settings(rows=400, validation_rows=100), recipe=BRIEF)
    assert made.split.validation_from == "1970-01-01T00:13:20+00:00"
    before = {user: len(films_of(user, steps, before=800)) for user, *_ in WORLD}
    assert made.train and made.validation
    assert all(row.at < before[row.user] for row in made.train)
    assert all(row.at >= before[row.user] for row in made.validation if row.user[0] == "u")


def test_without_times_the_next_to_last_of_everybody_validates(empty: World) -> None:
    empty.stock(titled())
    empty.take([(user, film, None) for user, film, _ in WORLD])
    made = empty.ask(Settings(rows=400, validation_rows=100))
    assert made.split.to_json() == {"kind": "order", "validation_from": None, "test_from": None}
    ends = {user: len(films_of(user)) for user, *_ in WORLD}
    assert sorted((row.user, row.at) for row in made.validation[::2]) == sorted((u, n - 2) for u, n in ends.items())
    assert {row.at for row in made.train} == {*range(3, max(ends.values()) - 2)}


def test_one_user_alone_is_enough_with_times(empty: World) -> None:
    films = [f"g{n:03}" for n in range(140)]
    empty.stock(titled(films))
    empty.take([("u", film, 10.0 * n) for n, film in enumerate(films[:100])])
    made = empty.ask(recipe=BRIEF)
    assert (len(made.train), len(made.validation)) == (36, 12)
    assert {row.user for row in both(made)} == {"u"}


# ---- too little


def steps_of(users: int, films: int, *, times: bool, start: float = 0.0) -> list[Step]:
    return [
        (f"u{n}", FILMS[k], start + 10.0 * (n + k * users) if times else None)
        for n in range(users)
        for k in range(films)
    ]


@pytest.mark.parametrize(
    "steps",
    [
        [],
        steps_of(1, 1, times=True),
        steps_of(1, 20, times=False),  # one question for validation
        steps_of(3, 5, times=True),
        steps_of(20, 2, times=True),  # nobody has three before another
        steps_of(10, 24, times=True) + steps_of(10, 24, times=True, start=2400.0),  # all take all: there is no no
    ],
    ids=["nothing", "one step", "one user", "few", "short", "all"],
)
def test_too_little_to_train_on_is_refused_with_advice(empty: World, steps: list[Step]) -> None:
    empty.stock(titled())
    empty.take(steps)
    with pytest.raises(InputError, match="Next: ingest"):
        empty.ask(recipe=BRIEF)


def test_an_empty_workspace_is_refused_before_any_engine_starts(empty: World) -> None:
    with pytest.raises(InputError, match="Next: ingest"):
        empty.ask()
    assert empty.record.opened == 0


# ---- stopped and gone on


def test_a_finished_set_is_read_again_without_an_engine(world: World) -> None:
    first = world.ask()
    asked, opened = len(world.record.take()), world.record.opened
    again = world.ask()
    assert again == first
    assert (world.record.opened, world.record.take()) == (opened, [])
    assert (opened, asked > 20) == (1, True)
    assert sorted(file.name for file in first.folder.iterdir()) == ["lock", "train.jsonl", "validation.jsonl"]


@pytest.mark.parametrize(
    ("stage", "number"),
    [("train questions", 1), ("train questions", 7), ("train questions", 18), ("validation questions", 3)],
)
def test_an_interrupted_set_goes_on_and_ends_as_if_nothing_had_happened(
    world: World, elsewhere: World, stage: str, number: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        world.ask(progress=stop_at(stage, number))
    first = world.record.take()
    made = world.ask()
    second = world.record.take()
    whole = elsewhere.ask()
    assert [data(made, name) for name in ("train", "validation")] == [
        data(whole, name) for name in ("train", "validation")
    ]
    assert first
    assert second or stage == "validation questions"  # whose summaries are all written before its first question
    assert sorted([*first, *second]) == sorted(elsewhere.record.take())  # written side by side: in another order


@pytest.mark.parametrize("patience", [0, 1, 5, 20])
def test_an_interrupt_inside_a_summary_loses_that_summary_only(world: World, elsewhere: World, patience: int) -> None:
    world.record.patience = patience
    with pytest.raises(KeyboardInterrupt):
        world.ask()
    first = world.record.take()
    world.record.patience = float("inf")
    made = world.ask()
    assert made.train == elsewhere.ask().train
    assert len(first) == patience
    assert sorted([*first, *world.record.take()]) == sorted(elsewhere.record.take())


def test_a_file_cut_off_at_any_byte_is_finished_to_the_same_bytes(world: World) -> None:
    world.stock([replace(row, title=f"{row.title} – Łódź 映画 \U0001f3ac") for row in titled()])
    made = world.ask(replace(FEW, rows=16))
    whole, asked = data(made, "train"), world.record.take()
    ends = [n + 1 for n, byte in enumerate(whole) if byte == ord("\n")]
    assert (len(ends), len(asked) > 5) == (16, True)
    inside = [n for n in range(1, len(whole)) if whole[n] & 0xC0 == 0x80]  # in the middle of a character
    sizes = {0, 1, *ends, *(n - 1 for n in ends), *(n + 1 for n in ends[:-1]), *inside[:: len(inside) // 12]}
    sizes |= {*range(7, len(whole), len(whole) // 12)}
    assert any(whole[n - 1] >= 0x80 and n not in ends for n in sizes)
    for size in sorted(sizes):
        (made.folder / "train.jsonl").unlink()
        (made.folder / "train.part").write_bytes(whole[:size])
        redone: list[int] = []
        again = world.ask(
            replace(FEW, rows=16),
            progress=lambda name, done, _, to=redone: to.append(done) if name == "train questions" else None,
        )
        assert data(again, "train") == whole, size
        lines = sum(end <= size for end in ends)
        assert redone == [*range(max(0, (lines - 1) // 2) + 1, 9)], size  # all but the last point that was there
    assert world.record.take() == []


def test_progress_counts_points_and_goes_on_where_it_was(world: World) -> None:
    told: list[tuple[str, int, int]] = []

    def note(*one: Any) -> None:
        told.append(one)

    with pytest.raises(KeyboardInterrupt):
        world.ask(recipe=BRIEF, progress=stop_at("train questions", 9))
    world.ask(recipe=BRIEF, progress=note)
    assert [one for one in told if one[0] == "train questions"] == [("train questions", n, 18) for n in range(9, 19)]
    assert [one for one in told if one[0] == "validation questions"] == [
        ("validation questions", n, 8) for n in range(1, 9)
    ]


@pytest.mark.parametrize("film", ["f23", "f00"])
def test_a_workspace_that_changes_meanwhile_mixes_up_no_rows(world: World, film: str) -> None:
    """Everybody's history gets a new beginning while questions are made."""

    def ingest(name: str, done: int, total: int) -> None:
        if (name, done) == ("train questions", 2):
            world.take([(f"u{n}", film, -5.0) for n in range(8)])

    with pytest.raises(InputError, match="changed"):
        world.ask(recipe=BRIEF, progress=ingest)
    again = world.ask(recipe=BRIEF)
    for row in again.train:
        assert (row.answer == "Yes") == (row.item_id == [film, *films_of(row.user)][row.at])


# ---- what makes another set


def retitle(world: World) -> None:
    world.stock([ItemRow(2, "f23", "Another title", {"kind": "drama"}, None)])


def rename_attribute(world: World) -> None:
    world.stock([replace(row, attributes={"genre": row.attributes["kind"]}) for row in titled()])


def move_words(world: World) -> None:
    """The same words, but one went from the title to an attribute."""
    world.stock([replace(row, title="Film", attributes={"id": row.item_id, **row.attributes}) for row in titled()])


def go_on(world: World) -> None:
    world.take([("u0", next(film for film in FILMS if film not in films_of("u0")), 2000.0)])


def come_by(world: World) -> None:
    world.take([("somebody", "f00", 2000.0)])


def edit_prompt(name: str) -> Callable[[World], None]:
    def edit(world: World) -> None:
        folder = world.workspace.home / "prompts"
        folder.mkdir()
        shipped = package_data("prompts") / f"{name}.j2"
        (folder / shipped.name).write_text(shipped.read_text() + "\n{# changed #}\n")

    return edit


def hide_a_column(world: World) -> None:
    descriptions.choose(world.workspace, ["another"], None)


CHANGES = [
    retitle, rename_attribute, move_words, go_on, come_by, hide_a_column,
    *map(edit_prompt, ("score", "preference_update")),
]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    CHANGES,
    ids=["title", "attribute", "words", "step", "stranger", "column", "score.j2", "preference_update.j2"],
)
def test_a_changed_workspace_makes_another_set(world: World, change: Callable[[World], None]) -> None:
    small = Settings(rows=12, validation_rows=8)
    first = world.ask(small)
    change(world)
    second = world.ask(small)
    assert second.folder != first.folder
    assert first.folder.is_dir()
    assert world.ask(small) == second


@pytest.mark.parametrize(
    "other",
    [{"rows": 40}, {"ratio": 2}, {"negatives": "hard"}, {"validation_rows": 12}, {"max_length": 500}, {"seed": 3}],
    ids=lambda other: next(iter(other)),
)
def test_other_settings_make_another_set(world: World, other: dict[str, Any]) -> None:
    first, second = world.ask(recipe=BRIEF), world.ask(replace(FEW, **other), recipe=BRIEF)
    assert first.folder != second.folder
    assert world.ask(recipe=BRIEF) == first


@pytest.mark.parametrize("other", [{"rank": 8}, {"epochs": 1.0}, {"dropout": 0.0}, {"quantisation": "f16"}])
def test_settings_of_the_training_alone_leave_the_set(world: World, other: dict[str, Any]) -> None:
    first, opened = world.ask(recipe=BRIEF), world.record.opened
    assert world.ask(replace(FEW, **other), recipe=BRIEF) == first
    assert world.record.opened == opened


def test_another_recipe_or_model_makes_another_set(world: World) -> None:
    made = [
        world.ask(recipe=BRIEF),
        world.ask(recipe=replace(BRIEF, recent=3)),
        world.ask(recipe=replace(BRIEF, hint=False)),
        world.ask(recipe=BRIEF, sha256="c" * 64),
        world.ask(recipe=replace(BRIEF, block_size=2)),
    ]
    assert len({one.folder for one in made}) == 5


@pytest.mark.parametrize(("size", "least"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_some_history_comes_before_each_target(world: World, size: int, least: int) -> None:
    settings = Settings(rows=400, validation_rows=16, block_size=size)
    assert min(row.at for row in world.ask(settings, recipe=replace(BRIEF, block_size=size)).train) == least
