"""What `msr-local finetune` says before it trains, and where it does not."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from goods import options
from samples import Ran

pytest.importorskip("transformers", reason="training needs the extra train")
pytest.importorskip("peft", reason="training needs the extra train")

Cli = Callable[..., Ran]


def test_a_dry_run_shows_the_training_set(cli: Cli, log: tuple[Path, Path], base: Path, tmp_path: Path) -> None:
    cli("ingest", *log)
    ran = cli(*options(base), "--dry-run", "--export", tmp_path / "rows.jsonl", "--json")
    assert ran.code == 0, ran.err
    train = ran.json["train"]
    assert train["yes"] == train["no"] == train["rows"] / 2 and len(ran.json["rows"]) == 3
    assert set(ran.json["tokens"]) == {"p0", "p50", "p90", "p99", "p100"}
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == train["rows"]
    assert {row["completion"] for row in rows} == {"Yes", "No"}
    assert all(row["prompt"].endswith("<|im_start|>assistant\n") for row in rows)
    shown = cli(*options(base), "--dry-run")
    assert shown.code == 0 and "Tokens of a question" in shown.out and "choose the following item next?" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    assert not list((tmp_path / "home" / "training").glob("runs/*"))


def test_long_questions_lose_their_oldest_titles_and_are_counted(cli: Cli, log: tuple[Path, Path], base: Path) -> None:
    cli("ingest", *log)
    ran = cli(*options(base, **{"max-length": 150}), "--dry-run", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["tokens"]["p100"] <= 150
    assert ran.json["history_shortened"] > 0


def test_too_little_data_is_said_clearly(cli: Cli, log: tuple[Path, Path], base: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("user_id,item_id,timestamp\nu1,i0,1\nu1,i3,2\nu2,i0,3\n")
    cli("ingest", log[0], short)
    ran = cli(*options(base))
    assert ran.code == 1 and "too few" in ran.err and "Next:" in ran.err


def test_without_the_extra_it_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from msr_local.training import finetune

    monkeypatch.setattr(finetune, "find_spec", lambda name: None)
    ran = cli("finetune")
    assert ran.code == 1 and "pip install 'msr-local[train]'" in ran.err


def test_a_bad_name_is_refused_before_any_work(cli: Cli) -> None:
    for name in ("../evil", "none", ".hidden", "a/b", ""):
        ran = cli("finetune", "--name", name)
        assert ran.code == 1 and "Next:" in ran.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_document_goes_to_stdout_while_a_terminal_shows_bars(
    base: Path, log: tuple[Path, Path], tmp_path: Path
) -> None:
    environment = {**os.environ, "MSR_LOCAL_HOME": str(tmp_path / "home"), "TERM": "xterm"}
    terminal, there = os.openpty()
    seen: list[bytes] = []

    def watch() -> None:  # all the time: a terminal that nobody reads stops who writes to it
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while read := os.read(terminal, 65_536):
                seen.append(read)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        for arguments in (["ingest", *log], [*options(base), "--dry-run", "--json"]):
            command = [sys.executable, "-m", "msr_local", *map(str, arguments)]
            ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=there, check=True)
    finally:
        os.close(there)
        watching.join()
        os.close(terminal)
    shown = b"".join(seen).decode()
    assert "Making training questions" in shown and '"rows"' not in shown
    assert json.loads(ran.stdout)["train"]["rows"] > 0


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--load-in-4bit", "needs a CUDA GPU. Next: leave it out"),
        ("--backend=unsloth", "unsloth is not installed. Next:"),
    ],
)
def test_what_cannot_train_here_is_refused_before_anything_is_asked(
    cli: Cli,
    log: tuple[Path, Path],
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    said: str,
) -> None:
    from msr_local.training import backends, finetune  # noqa: F401

    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda _: None)
    cli("ingest", *log)
    ran = cli(*options(base), option)
    assert ran.code == 1 and said in ran.err
    assert not (tmp_path / "home" / "training" / "sets").exists()


@pytest.mark.parametrize("other", [("--dry-run",), ("--export", "rows.jsonl")])
def test_what_begins_no_run_continues_none(cli: Cli, other: tuple[str, ...]) -> None:
    ran = cli("finetune", "--resume", *other)
    assert ran.code == 2 and "--resume continues a run" in ran.err


def test_a_cpu_without_memory_is_told_as_such(
    cli: Cli, log: tuple[Path, Path], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from msr_local.training import loop

    cli("ingest", *log)
    monkeypatch.setattr(loop, "train", lambda *_: torch.empty(1 << 46))
    ran = cli(*options(base))
    assert ran.code == 1 and "out of memory while training" in ran.err and "Next: a smaller --batch" in ran.err


def test_resume_without_a_stopped_run(cli: Cli) -> None:
    ran = cli("finetune", "--resume", "--name", "nothing")
    assert ran.code == 1 and "no unfinished run named 'nothing'" in ran.err
