"""Ray: the same numbers as without, whatever ends; nothing is lost, nothing doubled."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crowd
import psutil
import pytest
from crowd import USERS, command, made
from samples import Ran
from warm import Warm

from msr_local.engine.cluster import Seat, clustered, weights
from msr_local.engine.fake import FakeEngine
from msr_local.engine.types import EngineConfig, Question, ServerConfig
from msr_local.errors import ModelError, MsrError
from msr_local.models.choice import Asking, cast
from msr_local.models.spec import open_engine
from msr_local.recipe.everybody import recommend_to
from msr_local.recipe.recommender import Recommender
from msr_local.store.workspace import Workspace

os.environ |= {"RAY_ENABLE_AUTO_CONNECT": "0", "RAY_USAGE_STATS_ENABLED": "0"}  # before it is imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own
    ray = pytest.importorskip("ray", reason="needs the extra `ray`")
    from ray.cluster_utils import Cluster

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, and what its threads leave open
Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with room for two engines."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as forked:
        yield forked


@pytest.fixture(scope="module")
def alone(warm: Warm, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where one process has recommended to all."""
    return crowd.alone(tmp_path_factory.mktemp("crowd"), models, warm)


@pytest.fixture
def home(alone: Path, tmp_path: Path) -> Path:
    """The same workspace before that, as the test's own."""
    return crowd.before(alone, tmp_path / "home")


def engines() -> list[int]:
    """The processes of the cluster's actors; they are children of this one."""
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            if one.cmdline()[:1] == ["ray::Seat.ask"] or (one.cmdline() or [""])[0].startswith("ray::Seat"):
                found.append(one.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("what", ["nothing", "a worker", "a node"])
def test_the_numbers_are_those_without_ray_whatever_dies(
    cluster: Any, home: Path, alone: Path, models: Path, what: str
) -> None:
    node = cluster.add_node(num_cpus=1) if what == "a node" else None
    cluster.wait_for_nodes()
    killed: list[object] = []

    def kill(stage: str, done: int, total: int, detail: str = "") -> None:
        if done < 2 or killed:
            return
        if what == "a worker":
            killed.append(engines()[0])
            os.kill(engines()[0], signal.SIGKILL)
        elif node is not None:
            killed.append(node)
            cluster.remove_node(node, allow_graceful=False)

    workers = 3 if node is not None else 2
    with (
        Workspace(home) as workspace,
        clustered(cluster.address, open_engine, workers) as opened,
        Recommender(workspace, cast(workspace, Asking(model=models / "text.gguf")), open_engine=opened) as recommender,
    ):
        run = recommend_to(recommender, USERS, home / "recs.csv", 3, progress=kill)
    assert sorted(run.made) == sorted(USERS) and not run.failed and bool(killed) == (what != "nothing")
    assert made(home) == made(alone / "home")


def test_the_driver_is_killed_and_started_again(
    cluster: Any, home: Path, alone: Path, models: Path, warm: Warm, tmp_path: Path
) -> None:
    asked = (*command(tmp_path, models), "--ray", cluster.address, "--workers", "2")
    ran = warm.run(*asked, home=home, moment="after:store.results:save_list")
    assert ran.code == -9
    kept = made(home)
    assert len(kept["lists"]) == 3 and set(kept["answers"]) < set(made(alone / "home")["answers"])
    deadline = time.monotonic() + 30
    while engines() and time.monotonic() < deadline:  # the cluster ends what belonged to it
        time.sleep(0.1)
    ran = warm.run(*asked, "--json", home=home)
    assert ran.code == 0, ran.err
    assert (ran.json["made"], ran.json["up_to_date"]) == (len(USERS) - 1, 1)
    assert made(home) == made(alone / "home")


def test_captions_and_an_evaluation(
    cluster: Any, cli: Cli, shop: tuple[Path, Path], models: Path, tmp_path: Path
) -> None:
    model = ("--model", models / "text.gguf", "--mmproj", models / "eyes.gguf")
    spread = ("--ray", cluster.address, "--workers", "2")
    found = []
    for home, more in ((tmp_path / "one", ()), (tmp_path / "many", spread)):
        ingest = cli("--home", home, "ingest", *shop, *model, "--summaries", *more, "--json")
        assert ingest.code == 0, ingest.err
        assert ingest.json["captions"]["made"] == 12 and ingest.json["summaries"] == 6
        measured = cli("--home", home, "evaluate", *model, "--fast", "--negatives-per-positive", "3", *more, "--json")
        assert measured.code == 0, measured.err
        with sqlite3.connect(home / "msr.db") as db:
            captions = db.execute("SELECT item_id, key, caption FROM captions ORDER BY 1").fetchall()
            answers = db.execute("SELECT key, round(log_odds, 1) FROM answers ORDER BY 1").fetchall()
        ranks = {name: value["value"] for name, value in measured.json["metrics"].items()}
        found.append((captions, made(home)["summaries"], answers, ranks))
    assert found[0] == found[1] and found[0][2]


def test_models_of_two_roles_share_the_machines(cluster: Any) -> None:
    """As a merged judge beside the model that writes: the second would wait for the CPUs of the first forever."""
    questions = [Question("Yes or no?", f"Person {n}.", "Item") for n in range(4)]
    found: list[Any] = []
    with clustered(cluster.address, lambda config: FakeEngine()) as opened:
        first = opened(ServerConfig("http://one"))
        deadline = time.monotonic() + 30
        while ray.available_resources().get("CPU", 0) and time.monotonic() < deadline:
            time.sleep(0.1)  # until all its engines are there
        second = opened(ServerConfig("http://other"))
        ask = threading.Thread(target=lambda: found.extend(second.answers(questions)), daemon=True)
        ask.start()
        ask.join(30)
        for pool in (first, second):
            pool.close()
    assert found == list(FakeEngine().answers(questions))


def test_more_threads_than_any_machine_has_are_an_error(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"model")
    config = EngineConfig(tmp_path / "model.gguf", threads=64)
    with (
        clustered(cluster.address, lambda config: FakeEngine()) as opened,
        pytest.raises(MsrError, match=r"no machine of the Ray cluster has 64 CPUs.*Next: --threads 2"),
    ):
        opened(config)


def test_where_there_is_no_cluster_that_is_said(cli: Cli, shop: tuple[Path, Path]) -> None:
    ran = cli("ingest", *shop, "--ray", "nowhere")
    assert ran.code == 1 and "there is no Ray cluster at nowhere" in ran.err and "Next: " in ran.err


def test_files_that_a_machine_lacks_are_sent_to_it_once(cluster: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(bytes(range(256)) * 1000)
    config = EngineConfig(file)
    hashes = weights(config)
    (hashed,) = hashes.values()
    assert Seat(config, hashes, open_engine, tmp_path / "cache").missing() == []
    file.rename(tmp_path / "elsewhere.gguf")
    seats = [Seat(config, hashes, open_engine, tmp_path / "cache") for _ in range(2)]
    assert [one.missing() for one in seats] == [[hashed], [hashed]]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        data = (tmp_path / "elsewhere.gguf").read_bytes()
        parts = [ray.put(data[start : start + 100_000]) for start in range(0, len(data), 100_000)]
        with pytest.raises(ModelError, match="damaged"):
            seats[0].receive(hashed, parts[:1])
        assert seats[0].missing() == [hashed]
        for one in seats:
            one.receive(hashed, parts)
            assert one.missing() == []
    finally:
        ray.shutdown()
    (kept,) = (tmp_path / "cache").glob("*.gguf")
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == hashed


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MsrError, match=r"msr-local\[ray\]"), clustered("local", open_engine):
        pass
