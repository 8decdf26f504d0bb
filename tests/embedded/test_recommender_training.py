"""The scripts that make the shipped recommender: what is asked about what, and that a short training runs through."""

from __future__ import annotations

import json
import random
import re
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality import RUNS
from embedded import moments, recommender, worlds
from msr_local.training.batches import Answers
from msr_local.training.rows import NO, YES, Row

ANSWERS = Answers(10539, 5230, (10539, 9230), (5230,))
NOWHERE = Path("there is no data here")


def moment(user: str, *, yes: int, count: int = 3) -> list[Row]:
    """Questions about one moment, of which number `yes` was taken."""
    return [
        Row(user, 4, f"i{n}", YES if n == yes else NO, (("text", f"What {user} saw"),), (("text", f"item {n}"),),
            (1, 50, 60, 70 + len(user), 300 + n), 0.1 * n, blend=float(n))
        for n in range(count)
    ]  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Path:
    sets = {
        "drawn": ([*moment("ada", yes=0), *moment("eve", yes=1)], moment("bob", yes=2)),
        "movielens": (moment("7", yes=2), moment("9", yes=0)),
    }
    for source, parts in sets.items():
        recommender.keep(tmp_path / f"rows-{source}.jsonl.gz", {source: parts}, ANSWERS)
    return tmp_path


def test_rows_arrive_as_they_were(work: Path) -> None:
    sets, answers = recommender.kept(work)
    assert answers == ANSWERS
    assert sets["drawn"][0] == [*moment("ada", yes=0), *moment("eve", yes=1)]
    assert {source: [len(part) for part in parts] for source, parts in sets.items()} == {
        "drawn": [6, 3], "movielens": [3, 3],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("catalogue", "run"),
    [("movielens", "movielens-last"), ("movietweetings", "movietweetings-temporal"), ("microlens", "microlens-last")],
)
def test_what_is_evaluated_was_not_trained_on(catalogue: str, run: str) -> None:
    """The splits are those of benchmarks/quality.md."""
    _, files, options = RUNS[run]
    split = {"temporal": "time"}.get(options[1], "") or options[options.index("--split") + 1]
    assert moments.REAL[catalogue].split == split
    assert recommender.FILES[catalogue] == list(files)


@pytest.mark.parametrize("kind", ["drawn", "invented"])
@pytest.mark.parametrize("measured", [False, True])
def test_a_worlds_questions_are_answered_by_its_themes(kind: str, measured: bool) -> None:
    rng = random.Random(f"{kind} {measured}")
    world = worlds.world(kind, rng, NOWHERE, measured=measured)
    assert world is not None
    true = {thing.item.item_id: thing for thing in world.true}
    asked = list(moments.of_world(world, "w", rng, most=6))
    assert len(asked) >= 6
    for one in asked:
        assert sum(one.answers) in (1, 2)
        assert len(one.answers) == moments.OTHERS + sum(one.answers)
        person = world.people[int(one.user.split()[1])]
        theme = person.theme(one.at)
        for candidate, answer in zip(one.candidates, one.answers, strict=True):
            assert theme(true[candidate.item_id]) == answer
            assert candidate.item_id not in {world.true[place].item.item_id for place in person.steps[: one.at]}
        assert len({question.shared for question in one.questions}) == 1
    shown = [question.own for one in asked for question in one.questions]
    assert all(("Picture: " in text) == (kind == "drawn") for text in shown)
    assert any("Similar people: top" in text for text in shown)


def test_what_is_measured_is_asked_with_what_others_chose_and_without() -> None:
    rng = random.Random(3)
    world = worlds.world("invented", rng, NOWHERE, measured=True)
    assert world is not None
    asked = list(moments.of_world(world, "w", rng, most=4, measured=True))
    told, untold = ([one for one in asked if one.source == name] for name in ("invented", "invented, no hint"))
    assert len(told) == len(untold) == len(asked) / 2
    for one, other in zip(told, untold, strict=True):
        assert one.answers == other.answers and one.candidates == other.candidates
    hints = re.compile("Popular: |New: nobody")
    assert all(hints.search(question.own) for one in told for question in one.questions)
    assert not any(hints.search(question.own) for one in untold for question in one.questions)


def test_training_often_does_without_what_others_chose() -> None:
    rng = random.Random(4)
    world = worlds.world("invented", rng, NOWHERE)
    assert world is not None
    asked = list(moments.of_world(world, "w", rng, most=30))
    hinted = [any("Popular: " in question.own for question in one.questions) for one in asked]
    assert 0.3 < sum(hinted) / len(hinted) < 0.8
    few = [one for one in asked if one.questions[0].shared.count("\n- ") < 4 and one.at > 4]
    assert few and not any("What this person likes" in one.questions[0].shared for one in few)


def test_a_drawn_title_says_neither_colour_nor_pattern() -> None:
    world = worlds.world("drawn", random.Random(5), NOWHERE)
    assert world is not None
    for thing in world.true:
        assert not {*thing.item.title.lower().split()} & {*thing.terms[1:3]}


def test_worlds_to_measure_with_show_looks_that_training_never_saw() -> None:
    made = [worlds.world("drawn", random.Random(1), NOWHERE, measured=measured) for measured in (False, True)]
    looks = [{thing.terms for thing in one.true} for one in made if one is not None]
    assert len(looks) == 2 and not looks[0] & looks[1]


@pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
@pytest.mark.parametrize("loss", ["ranking", "residual"])
def test_a_short_training_and_what_it_tells(work: Path, loss: str) -> None:
    asked = {"work": work, "name": loss, "without": ["movielens"], "rank": 2, "lr": 1e-2, "epochs": 1.0, "batch": 2,
             "threads": 1, "loss": loss, "begin": None}  # fmt: skip
    recommender.train(Namespace(**asked))
    told: dict[str, Any] = json.loads((work / loss / "trained.json").read_text())
    assert told["rows"] == 6
    assert told["settings"]["loss"] == loss
    assert told["after"].keys() == {"drawn", "movielens"}
    assert (work / loss / "lora" / "adapter_model.safetensors").exists()
