"""A run of `msr-local finetune` that was refused, interrupted or killed, and goes on."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from goods import options, trained
from samples import Ran
from warm import Warm

from msr_local.store import runs
from msr_local.store.workspace import Workspace
from msr_local.training import finetune
from msr_local.training.export import ADAPTER_GGUF, LORA, MERGED
from msr_local.training.settings import Settings

pytest.importorskip("transformers", reason="training needs the extra train")
pytest.importorskip("peft", reason="training needs the extra train")

Cli = Callable[..., Ran]


def test_the_gate_refuses_and_a_resume_with_other_limits_does_not_train_again(
    cli: Cli, log: tuple[Path, Path], base: Path, tools: Path, tmp_path: Path
) -> None:
    cli("ingest", *log)
    ran = cli(*options(base, epochs=0.5), "--name", "strict", "--max-delta", "0", "--activate")
    assert ran.code == 1 and "was not registered" in ran.err and "Next:" in ran.err
    assert trained(cli) == {}
    (run,) = (tmp_path / "home" / "training" / "runs").iterdir()
    assert (run / "adapter.gguf").exists() and (run / "lora").is_dir()
    with sqlite3.connect(tmp_path / "home" / "msr.db") as db:
        assert db.execute("SELECT status, stage FROM runs").fetchall() == [("failed", "gate")]
        steps = db.execute("SELECT * FROM run_steps").fetchall()
    other = cli("finetune", "--resume", "--name", "strict", "--epochs", "8", "--rank", "4")
    assert other.code == 1 and "has epochs 0.5. Next:" in other.err
    again = cli("finetune", "--resume", "--name", "strict", "--max-delta", "0.05", "--quantise", "f16", "--json")
    assert again.code == 0, again.err
    assert again.json["files"]["merged"]["quantisation"] == "f16" and again.json["settings"]["rank"] == 4
    with sqlite3.connect(tmp_path / "home" / "msr.db") as db:
        assert db.execute("SELECT * FROM run_steps").fetchall() == steps
        ((kept,),) = db.execute("SELECT settings FROM runs").fetchall()
    assert (json.loads(kept)["max_delta"], json.loads(kept)["quantisation"]) == (0.05, "f16")
    assert set(trained(cli)) == {"strict"}


def test_what_training_has_ruined_is_not_taken_for_a_broken_file(
    cli: Cli, log: tuple[Path, Path], base: Path, tools: Path
) -> None:
    cli("ingest", *log)
    ran = cli(*options(base, lr=1, rank=16, alpha=32, epochs=0.5), "--name", "ruined")
    assert ran.code == 1 and "trained, the model does not answer" in ran.err and "logits are not finite" in ran.err
    assert ran.err.rstrip().endswith("Next: a smaller --lr.") and trained(cli) == {}


def test_two_at_the_same_run_do_not_mix(cli: Cli, log: tuple[Path, Path], base: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    cli("ingest", *log)
    with Workspace(home) as workspace:
        runs.start_run(
            workspace, "twice-1", "twice", stage="training", settings=Settings(base=str(base)).to_json(), split={},
            versions={},
        )  # fmt: skip
    run = home / "training" / "runs" / "twice-1"
    run.mkdir(parents=True)
    with FileLock(run / "lock"):
        ran = cli("finetune", "--resume", "--name", "twice")
    assert ran.code == 1 and "another process is working on run twice-1" in ran.err


def test_a_stopped_run_starts_over_when_the_workspace_has_changed(
    cli: Cli, log: tuple[Path, Path], base: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    cli("ingest", *log)
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "load_trainable", stop)
        assert cli(*options(base, epochs=0.5), "--name", "moved").code == 130
    (run,) = (tmp_path / "home" / "training" / "runs").iterdir()
    for name in (LORA, MERGED):  # as if it had trained, and been stopped after that
        (run / name).mkdir()
    for name in (ADAPTER_GGUF, "merged.f16.gguf", "merged.q8_0.gguf", "gate.q8_0.json"):
        (run / name).write_text("{}")
    more = tmp_path / "more.csv"
    more.write_text("user_id,item_id,timestamp\nu1,i1,1000000001\n")
    cli("ingest", log[0], more)
    ran = cli("finetune", "--resume", "--name", "moved", "--json")
    assert ran.code == 0, ran.err
    assert "the run starts from the beginning" in ran.err
    assert ran.json["run"]["questions"]["train"]["rows"] > 0


def test_interrupted_it_says_so_and_the_same_command_goes_on(
    cli: Cli, warm: Warm, log: tuple[Path, Path], base: Path, tools: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    cli("ingest", *log)
    command = [*options(base, epochs=1.5, patience=20), "--name", "halted", "--json"]
    child = warm.start(*command, home=home)
    deadline, steps = time.monotonic() + 120, 0
    while steps < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
        with sqlite3.connect(home / "msr.db") as db:
            steps = db.execute("SELECT count(*) FROM run_steps").fetchone()[0]
    child.interrupt()
    ran = child.wait(timeout=60)
    assert ran.code == 130, ran.err
    assert ran.out == "" and "run the same command again" in ran.err and "Traceback" not in ran.err
    again = cli(*command)
    assert again.code == 0 and "Continuing run" in again.err, again.err
    with sqlite3.connect(home / "msr.db") as db:
        assert db.execute("SELECT count(*), min(status) FROM runs").fetchone() == (1, "done")
        assert [step for (step,) in db.execute("SELECT step FROM run_steps ORDER BY step")] == list(range(1, 25))


MOMENTS = {
    "training": ["step:2", "saving:4", "step:7", "step:11", "before:training.finetune:save_lora"],
    "export": [
        "before:training.finetune:merge_unpatched",
        "after:training.export:log_odds",
        "before:training.export:convert_adapter",
        "after:training.export:convert_adapter",
        "before:training.export:convert_model",
        "after:training.export:tokenizer_differences",
        "before:training.export:quantise",
        "after:training.export:quantise",
        "after:training.finetune:engine_log_odds",
        "after:training.finetune:measures",
        "before:models.registry:register",
        "after:models.registry:_index",
        "after:models.registry:register",
        "before:viewer.curve:curve_png",
        "after:viewer.curve:curve_png",
    ],
}


@pytest.mark.parametrize("part", MOMENTS)
def test_killed_at_any_moment_it_goes_on(
    part: str, warm: Warm, tuned: Any, log: tuple[Path, Path], base: Path, tmp_path: Path
) -> None:
    _, whole, _ = tuned
    home = tmp_path / "home"
    assert warm.run("ingest", *log, home=home).code == 0
    command = [*options(base), "--name", "first", "--json"]
    for number, moment in enumerate(MOMENTS[part]):
        # The same command goes on by itself; --resume says so aloud.
        arguments = ["finetune", "--resume", "--name", "first", "--json"] if number % 2 else command
        ran = warm.run(*arguments, home=home, moment=moment)
        assert ran.code == -9, f"{moment}: {ran.code} {ran.err}"
        registered = [path.name for path in (home / "adapters").glob("*")] if (home / "adapters").exists() else []
        complete = [name for name in registered if (home / "adapters" / name / "manifest.json").exists()]
        assert registered == complete, moment
        listed = warm.run("adapters", "list", "--json", home=home)
        assert listed.code == 0 and all(row["problem"] is None for row in listed.json), moment
    done = warm.run(*command, home=home)
    assert done.code == 0, done.err
    document = done.json
    with sqlite3.connect(home / "msr.db") as db:
        losses = [loss for (loss,) in db.execute("SELECT loss FROM run_steps ORDER BY step")]
        assert db.execute("SELECT count(*), min(status) FROM runs").fetchone() == (1, "done")
    with sqlite3.connect(tuned[0] / "msr.db") as db:
        expected = [
            loss
            for (loss,) in db.execute("SELECT loss FROM run_steps WHERE run_id = ? ORDER BY step", [whole["run_id"]])
        ]
    assert losses == pytest.approx(expected, abs=0.05)
    assert document["metrics"]["after"]["auc"]["value"] == pytest.approx(
        whole["metrics"]["after"]["auc"]["value"], abs=0.02
    )
