"""The scripts that make the shipped recommender: what is asked about what, and that a short training runs through."""

from __future__ import annotations

import json
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality import RUNS
from embedded import recommender
from msr_local.training.batches import Answers
from msr_local.training.rows import NO, YES, Row

ANSWERS = Answers(10539, 5230, (10539, 9230), (5230,))


def moment(user: str, *, yes: int, count: int = 3) -> list[Row]:
    """Questions about one moment, of which number `yes` was taken."""
    return [
        Row(user, 4, f"i{n}", YES if n == yes else NO, (("text", f"What {user} saw"),), (("text", f"item {n}"),),
            (1, 50, 60, 70 + len(user), 300 + n), 0.1 * n)
        for n in range(count)
    ]  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Path:
    sets = {
        "shop": {"summaries": ([*moment("ada", yes=0), *moment("eve", yes=1)], moment("bob", yes=2))},
        "movielens": {"hard": (moment("7", yes=2), moment("9", yes=0))},
    }
    recommender.keep(tmp_path / "rows.jsonl.gz", sets, ANSWERS)
    return tmp_path


def test_rows_arrive_as_they_were_without_their_text(work: Path) -> None:
    sets, answers = recommender.kept(work / "rows.jsonl.gz")
    assert answers == ANSWERS
    assert {place: [len(part) for part in parts] for place, parts in sets.items()} == {
        ("shop", "summaries"): [6, 3], ("movielens", "hard"): [3, 3],
    }  # fmt: skip
    ada = sets["shop", "summaries"][0][:3]
    assert [(row.ids, row.answer, row.recall) for row in ada] == [
        (row.ids, row.answer, row.recall) for row in moment("ada", yes=0)
    ]
    assert len({row.prefix for row in ada}) == 1 and "saw" not in str(ada)
    assert {row.user for row in ada} == {"shop ada"}  # people of two catalogues are not one


@pytest.mark.parametrize(
    ("catalogue", "run"),
    [("movielens", "movielens-last"), ("movietweetings", "movietweetings-temporal"), ("microlens", "microlens-last")],
)
def test_what_is_evaluated_was_not_trained_on(catalogue: str, run: str) -> None:
    """The splits are those of benchmarks/quality.md."""
    _, files, options = RUNS[run]
    split = {"temporal": "time"}.get(options[1], "") or options[options.index("--split") + 1]
    made = recommender.CATALOGUES[catalogue]
    assert made.split == split and list(made.files) == files
    assert {settings.split for _, settings in made.sets()} == {split}


@pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
def test_a_short_training_and_what_it_tells(work: Path) -> None:
    asked = {"work": work, "name": "all", "without": ["movielens"], "rank": 2, "lr": 1e-2, "epochs": 1.0, "batch": 16}
    recommender.train(Namespace(**asked))
    told: dict[str, Any] = json.loads((work / "all" / "trained.json").read_text())
    assert told["rows"] == 24  # two moments of three questions, which are seen four times in a pass
    assert told["before"].keys() == told["after"].keys() == {"shop summaries", "movielens hard"}
    assert told["before"] != told["after"] and (work / "all" / "lora" / "adapter_model.safetensors").exists()
