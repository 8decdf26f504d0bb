"""`--workers`: many processes, the same numbers, and nothing lost whatever ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import crowd
import psutil
import pytest
from crowd import USERS, made
from samples import Ran
from warm import Warm

from msr_local.engine.pool import pooled
from msr_local.models.choice import Asking, cast
from msr_local.models.spec import open_engine
from msr_local.recipe.everybody import recommend_to
from msr_local.recipe.recommender import Recommender
from msr_local.store.workspace import Workspace

Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as forked:
        yield forked


@pytest.fixture(scope="module")
def alone(warm: Warm, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where one process has recommended to all."""
    return crowd.alone(tmp_path_factory.mktemp("crowd"), models, warm)


@pytest.fixture
def everybody(alone: Path, tmp_path: Path, models: Path) -> tuple[object, ...]:
    """The command that recommends to all, in the same workspace before that, as the test's own."""
    crowd.before(alone, tmp_path / "home")
    return crowd.command(tmp_path, models)


def test_many_processes_give_the_numbers_of_one(
    cli: Cli, everybody: tuple[object, ...], alone: Path, tmp_path: Path
) -> None:
    before, rows = made(alone / "home"), (alone / "recs.csv").read_text()
    ran = cli(*everybody, "--workers", "2", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["made"] == len(USERS) and made(tmp_path / "home") == before
    assert [line.split(",")[:3] for line in (tmp_path / "recs.csv").read_text().splitlines()] == [
        line.split(",")[:3] for line in rows.splitlines()
    ]
    again = cli(*everybody, "--workers", "2", "--json")
    assert (again.json["made"], again.json["up_to_date"]) == (0, len(USERS))


def test_workers_that_are_killed_are_replaced(
    everybody: tuple[object, ...], alone: Path, tmp_path: Path, models: Path
) -> None:
    before = made(alone / "home")
    known = {one.pid for one in psutil.Process().children()}
    killed: list[int] = []
    with Workspace(tmp_path / "home") as workspace:

        def kill(stage: str, done: int, total: int, detail: str = "") -> None:
            mine = [one.pid for one in psutil.Process().children() if one.pid not in {*known, *killed}]
            if done in (1, 5) and len(mine) > 1:
                killed.append(mine[-1])
                os.kill(mine[-1], signal.SIGKILL)

        ours = cast(workspace, Asking(model=models / "text.gguf"))
        with Recommender(workspace, ours, open_engine=pooled(open_engine, 2)) as recommender:
            run = recommend_to(recommender, USERS, tmp_path / "recs.csv", 3, progress=kill)
    assert killed and sorted(run.made) == sorted(USERS) and not run.failed
    assert made(tmp_path / "home") == before
    assert {one.pid for one in psutil.Process().children()} <= known


@pytest.mark.parametrize("way", ["interrupted", "killed"])
def test_the_end_of_the_command_ends_all_and_it_goes_on_where_it_was(
    cli: Cli, everybody: tuple[object, ...], alone: Path, tmp_path: Path, warm: Warm, way: str
) -> None:
    home, before = tmp_path / "home", made(alone / "home")
    child = warm.start(*everybody, "--workers", "2", home=home)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not made(home)["answers"]:
        time.sleep(0.01)
    processes = psutil.Process(child.pid).children(recursive=True)
    if way == "interrupted":
        child.interrupt()
        ran = child.wait(timeout=20)
        assert ran.code == 130 and "interrupted" in ran.err and "Traceback" not in ran.err, ran.err
    else:
        child.kill()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert processes and not alive
    kept = made(home)
    assert kept["answers"] and set(kept["answers"]) < set(before["answers"])
    assert cli(*everybody, "--workers", "2").code == 0
    assert made(home) == before


def test_workers_go_with_many_users(cli: Cli, everybody: tuple[object, ...]) -> None:
    ran = cli("recommend", "u1", "--workers", "2")
    assert ran.code == 2 and "go with --all or --users" in ran.err
