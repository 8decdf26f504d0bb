"""Training runs, their loss curves, and the index of adapters. Each logged step is one commit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal

from ..errors import NotFoundError
from .workspace import Workspace, now

Status = Literal["running", "failed", "done"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `finetune`; `name` is that of the adapter it is to make, `error` why it failed."""

    run_id: str
    name: str
    status: Status
    stage: str
    settings: dict[str, Any]
    split: dict[str, Any]
    versions: dict[str, Any]
    metrics: dict[str, Any]
    error: str | None
    created: str
    updated: str


@dataclass(frozen=True, slots=True)
class Step:
    """One point of a run's curve. What was not measured, or came out as no number, is None."""

    step: int
    loss: float | None = None
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    tokens: int | None = None
    seconds: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """A row of the index of adapters; `manifest` is the JSON object of the adapter's folder."""

    name: str
    run_id: str
    base: str
    base_sha256: str
    manifest: dict[str, Any]
    created: str


def finite(value: Any) -> Any:
    """A JSON-able value in which None stands for every number that is none: strict JSON has no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value


def start_run(
    workspace: Workspace,
    run_id: str,
    name: str,
    *,
    stage: str,
    settings: Mapping[str, Any],
    split: Mapping[str, Any],
    versions: Mapping[str, Any],
) -> None:
    """Record a run as running. Raises `sqlite3.IntegrityError` when there is one with this id already."""
    time = now()
    with workspace.write():
        workspace.execute(
            "INSERT INTO runs (run_id, name, status, stage, settings, split, versions, metrics, created, updated)"
            " VALUES (?, ?, 'running', ?, ?, ?, ?, '{}', ?, ?)",
            [run_id, name, stage, _json(settings), _json(split), _json(versions), time, time],
        )


def update_run(
    workspace: Workspace,
    run_id: str,
    *,
    stage: str | None = None,
    status: Status | None = None,
    settings: Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Record how far a run is; what is not given stays.

    `metrics` joins what is there, key by key. A `status` takes the old error away, so that a run that was
    resumed does not carry it on. Raises `NotFoundError` for a run that is not there.
    """
    with workspace.write():
        old = run(workspace, run_id)
        if old is None:
            raise NotFoundError(f"there is no training run {run_id!r}. Next: start it without --resume.")
        workspace.execute(
            "UPDATE runs SET stage = ?, status = ?, settings = ?, split = ?, metrics = ?, error = ?, updated = ?"
            " WHERE run_id = ?",
            [
                old.stage if stage is None else stage,
                old.status if status is None else status,
                _json(old.settings if settings is None else settings),
                _json(old.split if split is None else split),
                _json({**old.metrics, **(metrics or {})}),
                old.error if status is None and error is None else error,
                now(),
                run_id,
            ],
        )


_RUN = "run_id, name, status, stage, settings, split, versions, metrics, error, created, updated"


def run(workspace: Workspace, run_id: str) -> Run | None:
    """One run, or None."""
    row = workspace.execute(f"SELECT {_RUN} FROM runs WHERE run_id = ?", [run_id]).fetchone()
    return _run(row) if row else None


def runs(workspace: Workspace) -> list[Run]:
    """All runs, the newest first."""
    return [_run(row) for row in workspace.execute(f"SELECT {_RUN} FROM runs ORDER BY created DESC, rowid DESC")]


def log_step(workspace: Workspace, run_id: str, step: Step) -> None:
    """Keep one point of the curve; all after it, left by a run that was resumed further back, goes."""
    with workspace.write():
        workspace.execute("DELETE FROM run_steps WHERE run_id = ? AND step >= ?", [run_id, step.step])
        workspace.execute(
            "INSERT INTO run_steps (run_id, step, loss, auc, auc_low, auc_high, tokens, seconds, learning_rate)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [run_id, *finite(astuple(step))],
        )


def steps(workspace: Workspace, run_id: str) -> list[Step]:
    """The curve of a run, in order."""
    rows = workspace.execute(
        "SELECT step, loss, auc, auc_low, auc_high, tokens, seconds, learning_rate FROM run_steps"
        " WHERE run_id = ? ORDER BY step",
        [run_id],
    )
    return [Step(*row) for row in rows]


def save_adapter(workspace: Workspace, row: Adapter) -> None:
    """Keep an adapter's row, in place of an older one of its name."""
    with workspace.write():
        workspace.execute(
            "INSERT OR REPLACE INTO adapters (name, run_id, base, base_sha256, manifest, created)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [row.name, row.run_id, row.base, row.base_sha256, _json(row.manifest), row.created],
        )


_ADAPTER = "SELECT name, run_id, base, base_sha256, manifest, created FROM adapters"


def adapter(workspace: Workspace, name: str) -> Adapter | None:
    """The row of one adapter, or None."""
    row = workspace.execute(f"{_ADAPTER} WHERE name = ?", [name]).fetchone()
    return _adapter(row) if row else None


def adapters(workspace: Workspace) -> list[Adapter]:
    """The rows of all adapters, by name."""
    return [_adapter(row) for row in workspace.execute(f"{_ADAPTER} ORDER BY name")]


def delete_adapter(workspace: Workspace, name: str) -> None:
    """Drop an adapter's row, if there is one."""
    with workspace.write():
        workspace.execute("DELETE FROM adapters WHERE name = ?", [name])


def _run(row: Any) -> Run:
    documents = (json.loads(text) for text in row[4:8])
    return Run(*row[:4], *documents, *row[8:])


def _adapter(row: Any) -> Adapter:
    name, run_id, base, base_sha256, manifest, created = row
    return Adapter(name, run_id, base, base_sha256, json.loads(manifest), created)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(finite(value), allow_nan=False)
