import json
import sqlite3

import pytest

from msr_local.errors import NotFoundError
from msr_local.store import runs
from msr_local.store.runs import Adapter, Step
from msr_local.store.workspace import Workspace

ALL = {"settings": {"rank": 16}, "split": {"train": 9}, "versions": {"torch": "2.13"}}


def start(workspace: Workspace, run_id: str = "r1", name: str = "first") -> None:
    runs.start_run(workspace, run_id, name, stage="rows", **ALL)


def adapter(name: str = "first", **more) -> Adapter:
    values = {"run_id": "r1", "base": "embedded", "base_sha256": "ab", "manifest": {"name": name}, "created": "2026"}
    return Adapter(name, **(values | more))


def test_a_run_starts_running_and_comes_back_as_it_was(workspace):
    start(workspace)
    run = runs.run(workspace, "r1")
    assert (run.run_id, run.name, run.status, run.stage, run.metrics, run.error) == (
        "r1", "first", "running", "rows", {}, None,
    )  # fmt: skip
    assert {"settings": run.settings, "split": run.split, "versions": run.versions} == ALL
    assert run.created == run.updated and run.created.endswith("+00:00")
    assert runs.run(workspace, "r2") is None


def test_a_run_is_started_once(workspace):
    start(workspace)
    with pytest.raises(sqlite3.IntegrityError):
        start(workspace)
    assert len(runs.runs(workspace)) == 1


def test_an_update_changes_what_it_names_only(workspace):
    start(workspace)
    before = runs.run(workspace, "r1")
    runs.update_run(workspace, "r1", stage="train", split={"train": 7})
    runs.update_run(workspace, "r1", metrics={"before": {"auc": 0.5}})
    runs.update_run(workspace, "r1", metrics={"after": {"auc": float("nan")}})
    run = runs.run(workspace, "r1")
    assert (run.stage, run.status, run.settings, run.split) == ("train", "running", {"rank": 16}, {"train": 7})
    assert run.metrics == {"before": {"auc": 0.5}, "after": {"auc": None}}
    assert run.created == before.created and run.updated > before.updated


def test_a_resumed_run_does_not_carry_its_error_on(workspace):
    start(workspace)
    runs.update_run(workspace, "r1", status="failed", error="out of memory")
    assert (runs.run(workspace, "r1").status, runs.run(workspace, "r1").error) == ("failed", "out of memory")
    runs.update_run(workspace, "r1", stage="export")
    assert runs.run(workspace, "r1").error == "out of memory"
    runs.update_run(workspace, "r1", status="running")
    assert (runs.run(workspace, "r1").status, runs.run(workspace, "r1").error) == ("running", None)


def test_an_unknown_run_cannot_be_updated(workspace):
    with pytest.raises(NotFoundError, match=r"no training run 'r9'.*Next:"):
        runs.update_run(workspace, "r9", status="done")
    assert not workspace.db.conn.in_transaction


def test_runs_are_listed_newest_first(workspace):
    for run_id in ("b", "a", "c"):
        start(workspace, run_id)
    assert [run.run_id for run in runs.runs(workspace)] == ["c", "a", "b"]


def test_a_step_is_there_for_another_connection_at_once(workspace):
    start(workspace)
    full = Step(10, 0.7, 0.61, 0.55, 0.66, 12_345, 1.5, 2e-4)
    with Workspace(workspace.home) as other:
        runs.log_step(workspace, "r1", full)
        assert runs.steps(other, "r1") == [full]


def test_what_was_not_measured_is_none(workspace):
    start(workspace)
    runs.log_step(workspace, "r1", Step(1, float("nan"), auc=float("inf")))
    assert runs.steps(workspace, "r1") == [Step(1)]


def test_logging_a_step_again_drops_it_and_all_later_steps_of_that_run_only(workspace):
    for run_id in ("r1", "r2"):
        start(workspace, run_id)
        for step in (10, 20, 30, 40):
            runs.log_step(workspace, run_id, Step(step, 1.0))
    runs.log_step(workspace, "r1", Step(20, 0.5))
    assert runs.steps(workspace, "r1") == [Step(10, 1.0), Step(20, 0.5)]
    assert [step.step for step in runs.steps(workspace, "r2")] == [10, 20, 30, 40]
    assert runs.steps(workspace, "r3") == []


def test_a_step_of_no_run_is_refused(workspace):
    with pytest.raises(sqlite3.IntegrityError):
        runs.log_step(workspace, "nothing", Step(1, 1.0))
    assert not workspace.db.conn.in_transaction


def test_an_adapter_comes_back_and_is_replaced_and_deleted(workspace):
    runs.save_adapter(workspace, adapter("zebra"))
    runs.save_adapter(workspace, adapter("first", manifest={"name": "Zoë 🎬", "metrics": {"auc": float("nan")}}))
    assert runs.adapter(workspace, "first").manifest == {"name": "Zoë 🎬", "metrics": {"auc": None}}
    runs.save_adapter(workspace, adapter("first", run_id="r2"))
    assert runs.adapter(workspace, "first") == adapter("first", run_id="r2")
    assert [row.name for row in runs.adapters(workspace)] == ["first", "zebra"]
    runs.delete_adapter(workspace, "first")
    runs.delete_adapter(workspace, "first")
    assert runs.adapter(workspace, "first") is None
    assert runs.adapters(workspace) == [adapter("zebra")]


def test_documents_are_strict_json_for_other_readers(workspace):
    runs.start_run(
        workspace, "r1", "x", stage="s", settings={"lr": float("inf"), "t": (1, float("nan"))}, split={}, versions={}
    )
    text = workspace.one("SELECT settings FROM runs")
    assert json.loads(text, parse_constant=pytest.fail) == {"lr": None, "t": [1, None]}
