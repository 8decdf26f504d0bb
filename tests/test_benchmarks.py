"""The benchmarks run, and the page says what they measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import page, people, scale, speed
from benchmarks.systems import Job, Ours, prompts
from msr_local.catalogue.ingest import ingest
from msr_local.engine.fake import FakeEngine
from msr_local.models import embedded
from msr_local.models.choice import cast
from msr_local.recipe.recommender import Recommender
from msr_local.store.workspace import Workspace

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("one", page.PAGES, ids=lambda path: path.name)
def test_the_pages_say_what_was_measured(one: Path) -> None:
    assert page.render(one) == one.read_text(encoding="utf-8"), "run `python -m benchmarks.page`"


def test_the_invented_catalogues_can_be_read_and_asked_about(tmp_path: Path) -> None:
    """The wines have as many columns as it is said, and few of them describe them."""
    people.wines(tmp_path / "wines", items=60, users=8)
    people.films(tmp_path / "films", items=60, users=8)
    for name, columns in (("wines", 17), ("films", 3)):
        with Workspace(tmp_path / name / "home") as workspace:
            done = ingest(workspace, tmp_path / name)
            assert (done.items.new, done.rejected) == (60, 0)
            assert len((tmp_path / name / "items.csv").read_text(encoding="utf-8").split("\n")[0].split(",")) == columns
            with Recommender(workspace, cast(workspace), open_engine=lambda _: FakeEngine()) as recommender:
                assert len(recommender.recommend("u1").items) == 10


def test_one_driver_and_played_engines(tmp_path: Path) -> None:
    people.films(tmp_path / "films", items=60, users=40)
    with Workspace(tmp_path / "home") as workspace:
        ingest(workspace, tmp_path / "films")
    found = scale.simulated(tmp_path / "home", 3, 0.001, 60.0)
    assert found["lists"] == 40 and 0 < found["busy"] <= 1


def test_all_systems_get_the_same_tokens() -> None:
    ours = Ours(embedded.prepare(), 2)
    prefix, suffixes = prompts(ours.engine.facts, Job("Chosen lately:\n- A scarf", ["A hat", "A coat, red"]))
    whole = [ours.engine.token_ids([*prefix, *suffix]) for suffix in suffixes]
    assert all(len(ids) == ours.engine.count_tokens(prefix) + ours.engine.count_tokens(suffix) for ids, suffix in
               zip(whole, suffixes, strict=True))  # fmt: skip
    ours.engine.close()


def test_a_quick_run_prints_its_tables_and_writes_nothing() -> None:
    before = speed.RESULT.stat() if speed.RESULT.exists() else None
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", "--quick"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    for name in ("ours", "chat loop", "floor", "captions", "questions"):
        assert f"| {name} |" in ran.stdout
    assert (speed.RESULT.stat() if speed.RESULT.exists() else None) == before
