"""`msr-local finetune` from histories to an active recommender, on a tiny random model and with everything real."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Ran

from msr_local.files import sha256

pytest.importorskip("transformers", reason="training needs the extra train")
pytest.importorskip("peft", reason="training needs the extra train")

Cli = Callable[..., Ran]
USERS, ITEMS, STEPS = 30, 60, 12


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """People who only ever take things with "good" in their name: something that a tiny model can learn."""
    folder = tmp_path_factory.mktemp("goods")
    rng = np.random.default_rng(0)
    lines = ["item_id,title,genre"]
    lines += [
        f"i{n},The {'good' if n % 3 == 0 else 'bad'} thing {n},{'red' if n % 2 else 'blue'}" for n in range(ITEMS)
    ]
    (folder / "items.csv").write_text("\n".join(lines) + "\n")
    steps = ["user_id,item_id,timestamp"]
    for user in range(USERS):
        for number, item in enumerate(rng.permutation(range(0, ITEMS, 3))[:STEPS]):
            steps.append(f"u{user},i{item},{1_000_000_000 + 1000 * number + user}")
    (folder / "log.csv").write_text("\n".join(steps) + "\n")
    return folder / "items.csv", folder / "log.csv"


def options(base: Path, **changes: object) -> list[str]:
    """A small run: 16 training steps of 8 questions."""
    given = {
        "base": base, "backend": "peft", "recipe": "history", "rows": 128, "validation-rows": 48, "epochs": 1,
        "batch": 8, "accumulation": 1, "rank": 4, "alpha": 8, "lr": 0.01, "eval-every": 4, "threads": 1, **changes,
    }  # fmt: skip
    return ["finetune", *(text for name, value in given.items() for text in (f"--{name}", str(value)))]


def trained(call: Cli) -> dict[str, Any]:
    """The workspace's adapters by name, without what comes with msr-local."""
    return {row["name"]: row for row in call("adapters", "list", "--json").json if not row.get("shipped")}


@pytest.fixture(scope="module")
def base(tiny_llama: Path, louder: Callable[[Path], Path]) -> Path:
    """A random Llama of two layers whose answers depend on the question."""
    return louder(tiny_llama)


@pytest.fixture(scope="module")
def tuned(base: Path, log: tuple[Path, Path], tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workspace in which `first` was trained and answers; shared by the tests that only read."""
    home = tmp_path_factory.mktemp("tuned")
    environment = {**os.environ, "MSR_LOCAL_HOME": str(home)}

    def call(*arguments: object) -> Ran:
        ran = subprocess.run(
            [sys.executable, "-m", "msr_local", *map(str, arguments)], env=environment, capture_output=True, text=True
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    assert call("ingest", *log).code == 0
    ran = call(*options(base), "--name", "first", "--activate", "--json")
    assert ran.code == 0, ran.err
    return home, ran.json, call


def test_training_teaches_something(tuned: Any) -> None:
    _, document, _ = tuned
    before, after = (document["metrics"][name]["auc"] for name in ("before", "after"))
    # A third of the negatives are good things that were just not taken: nobody can tell these apart.
    assert after["value"] > before["value"] + 0.1
    assert after["ci95"][0] > 0.5
    assert after["ci95"][0] <= after["value"] <= after["ci95"][1]


def test_the_engine_answers_as_the_trained_model_does(tuned: Any) -> None:
    _, document, _ = tuned
    assert document["parity"]["adapter"]["median_dz"] <= 0.05
    assert document["parity"]["merged"]["rank_correlation"] >= 0.99
    assert document["parity"]["adapter"]["rows"] == 32


def test_the_files_are_those_of_the_manifest(tuned: Any) -> None:
    home, document, _ = tuned
    folder = home / "adapters" / "first"
    from msr_local.training.convert import metadata, tokenizer_differences

    for entry in document["files"].values():
        assert sha256(folder / entry["file"]) == entry["sha256"]
    merged = metadata(folder / document["files"]["merged"]["file"])
    base = metadata(Path(document["base"]["model"]))
    assert tokenizer_differences(Path(document["base"]["model"]), folder / document["files"]["merged"]["file"]) == []
    for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.bos_token_id", "tokenizer.chat_template"):
        assert merged[key] == base[key]
    assert (folder / "peft" / "adapter_model.safetensors").exists()
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert document["base"]["licence"] == "mit"


def test_the_run_is_on_record(tuned: Any) -> None:
    home, document, _ = tuned
    with sqlite3.connect(home / "msr.db") as db:
        (row,) = db.execute("SELECT run_id, name, status, stage, settings, split, versions, error FROM runs").fetchall()
        steps = db.execute("SELECT step, loss, auc, auc_low, auc_high, tokens FROM run_steps ORDER BY step").fetchall()
    assert row[:4] == (document["run_id"], "first", "done", "done") and row[7] is None
    assert json.loads(row[4])["rank"] == 4 and json.loads(row[5])["kind"] == "time"
    assert {"torch", "transformers", "peft", "llama-cpp-python"} <= set(json.loads(row[6]))
    assert [step[0] for step in steps] == list(range(1, 17))
    assert all(step[1] is not None for step in steps)
    assert [step[0] for step in steps if step[2] is not None] == [4, 8, 12, 16]
    assert all(low <= auc <= high for _, _, auc, low, high, _ in steps if auc is not None)


def test_recommend_uses_it(tuned: Any) -> None:
    _, document, call = tuned
    found = call("recommend", "u1", "-k", "60", "--json").json
    plain = call("recommend", "u1", "-k", "60", "--json", "--adapter", "none").json
    assert (found["model"]["adapter"], found["model"]["adapter_form"]) == ("first", "adapter")
    assert found["model"]["adapter_sha256"] == document["files"]["adapter"]["sha256"]
    assert plain["model"]["adapter"] is None
    assert found["model"]["recipe"]["name"] == "history"  # the one it was tuned with
    z, z_plain = ({item["item_id"]: item["log_odds"] for item in one["items"]} for one in (found, plain))
    assert set(z) == set(z_plain) and max(abs(z[i] - z_plain[i]) for i in z) > 0.1
    good = {item["item_id"] for item in found["items"] if "good" in item["title"]}
    assert min(z[i] for i in good) > max(z[i] for i in set(z) - good)


def test_p_yes_is_calibrated_and_never_changes_the_order(tuned: Any) -> None:
    _, document, call = tuned
    items = call("recommend", "u1", "--json").json["items"]
    a, b = document["calibration"]["a"], document["calibration"]["b"]
    assert a > 0
    for item in items:
        assert item["p_yes"] == pytest.approx(1 / (1 + np.exp(-(a * item["log_odds"] + b))), abs=1e-9)
    by_z = sorted(items, key=lambda item: item["log_odds"])
    assert [item["p_yes"] for item in by_z] == sorted(item["p_yes"] for item in items)
    other = call("recommend", "u1", "--recipe", "full", "--json")
    assert "not calibrated" in other.err
    for item in other.json["items"]:
        assert item["p_yes"] == pytest.approx(1 / (1 + np.exp(-item["log_odds"])), abs=1e-9)


def test_the_score_weighs_recall_as_it_was_fitted(tuned: Any) -> None:
    home, document, call = tuned
    call("recommend", "u2", "--json")
    with sqlite3.connect(home / "msr.db") as db:
        rows = db.execute(
            "SELECT log_odds, recall, score FROM scores"
            " WHERE user_id = 'u2' AND score IS NOT NULL AND model LIKE '%first'"
        ).fetchall()
    assert rows
    for z, recall, score in rows:
        assert score == pytest.approx(z + document["fusion"]["recall"] * recall)


def test_the_merged_model_ranks_alike(tuned: Any) -> None:
    _, _, call = tuned
    z = {item["item_id"]: item["log_odds"] for item in call("recommend", "u3", "-k", "60", "--json").json["items"]}
    assert call("adapters", "use", "first", "--form", "merged").code == 0
    try:
        ran = call("recommend", "u3", "-k", "60", "--json")
        assert ran.json["model"]["adapter_form"] == "merged", ran.err
        merged = {item["item_id"]: item["log_odds"] for item in ran.json["items"]}
    finally:
        assert call("adapters", "use", "first").code == 0
    assert np.corrcoef([z[i] for i in z], [merged[i] for i in z])[0, 1] > 0.98
    assert call("explain", "u3", "--json").json["evidence"]


def test_another_prompt_is_refused(tuned: Any) -> None:
    home, _, call = tuned
    override = home / "prompts" / "score.j2"
    override.parent.mkdir(exist_ok=True)
    shipped = (Path(__file__).parents[2] / "prompts" / "score.j2").read_text()
    override.write_text(shipped.replace("Will this person", "Would this person"))
    try:
        ran = call("recommend", "u1")
        assert ran.code == 1 and "version of the prompt 'score'" in ran.err and "Traceback" not in ran.err
        assert call("recommend", "u1", "--adapter", "none").code == 0
    finally:
        override.unlink()


def test_a_damaged_file_is_refused(tuned: Any) -> None:
    home, document, call = tuned
    path = home / "adapters" / "first" / document["files"]["adapter"]["file"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        ran = call("recommend", "u1")
        assert ran.code == 1 and "first" in ran.err and "Next:" in ran.err
    finally:
        path.write_bytes(whole)
        os.utime(path)
    assert call("recommend", "u1").code == 0


def test_training_again_under_the_same_name_replaces_it(tuned: Any, base: Path) -> None:
    home, document, call = tuned
    ran = call(*options(base), "--name", "second", "--json")
    again = call(*options(base, quantise="f16", epochs=0.5), "--name", "second", "--json")
    assert ran.code == again.code == 0, ran.err + again.err
    assert ran.json["run_id"] != again.json["run_id"]
    # The same data, settings and seed: the same training.
    assert ran.json["run"]["training"]["best_auc"] == pytest.approx(document["run"]["training"]["best_auc"], abs=0.02)
    listed = trained(call)
    assert set(listed) == {"first", "second"} and listed["first"]["active"] and not listed["second"]["active"]
    assert {path.name for path in (home / "adapters" / "second").glob("*.gguf")} == {"adapter.gguf", "merged.f16.gguf"}


def test_the_commands_of_the_docs(tuned: Any) -> None:
    """Every command about adapters in docs/finetuning.md, but for the one that deletes; 42 is a user there."""
    _, _, call = tuned
    page = (Path(__file__).parents[2] / "docs" / "finetuning.md").read_text(encoding="utf-8")
    section = page.split("## Adapters")[1].split("```")[1]
    commands = [shlex.split(line, comments=True)[1:] for line in section.splitlines() if line.startswith("msr-local")]
    assert len(commands) >= 5 and commands[-1][:2] == ["adapters", "rm"]
    for command in commands[:-1]:
        ran = call(*("u1" if word == "42" else word for word in command))
        assert ran.code == 0, f"{command}\n{ran.err}"
    assert call("adapters", "use", "first").code == 0


# ---- what it says before and instead of training


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


def test_resume_without_a_stopped_run(cli: Cli) -> None:
    ran = cli("finetune", "--resume", "--name", "nothing")
    assert ran.code == 1 and "no unfinished run named 'nothing'" in ran.err


# ---- stopped and gone on


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


def test_two_at_the_same_run_do_not_mix(cli: Cli, log: tuple[Path, Path], base: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    cli("ingest", *log)
    refused = cli(*options(base, epochs=0.5), "--name", "twice", "--max-delta", "0")
    assert refused.code == 1
    (run,) = (tmp_path / "home" / "training" / "runs").iterdir()
    with FileLock(run / "lock"):
        ran = cli("finetune", "--resume", "--name", "twice")
    assert ran.code == 1 and "another process" in ran.err


def test_a_stopped_run_starts_over_when_the_workspace_has_changed(
    cli: Cli, log: tuple[Path, Path], base: Path, tools: Path, tmp_path: Path
) -> None:
    cli("ingest", *log)
    command = [*options(base, epochs=0.5), "--name", "moved"]
    assert cli(*command, "--max-delta", "0").code == 1
    more = tmp_path / "more.csv"
    more.write_text("user_id,item_id,timestamp\nu1,i1,1000000001\n")
    cli("ingest", log[0], more)
    ran = cli("finetune", "--resume", "--name", "moved", "--max-delta", "0.05", "--json")
    assert ran.code == 0, ran.err
    assert "starts from the beginning" in ran.err
    assert ran.json["run"]["questions"]["train"]["rows"] > 0


def test_interrupted_it_says_so_and_the_same_command_goes_on(
    cli: Cli, log: tuple[Path, Path], base: Path, tools: Path, tmp_path: Path
) -> None:
    cli("ingest", *log)
    command = [*options(base, epochs=3, patience=20), "--name", "halted", "--json"]
    child = subprocess.Popen(
        [sys.executable, "-m", "msr_local", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline, steps = time.monotonic() + 120, 0
    while steps < 6 and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.05)
        with sqlite3.connect(tmp_path / "home" / "msr.db") as db:
            steps = db.execute("SELECT count(*) FROM run_steps").fetchone()[0]
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert out == b"" and b"run the same command again" in err and b"Traceback" not in err
    again = cli(*command)
    assert again.code == 0 and "Continuing run" in again.err, again.err
    with sqlite3.connect(tmp_path / "home" / "msr.db") as db:
        assert db.execute("SELECT count(*), min(status) FROM runs").fetchone() == (1, "done")
        assert [step for (step,) in db.execute("SELECT step FROM run_steps ORDER BY step")] == list(range(1, 49))


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
        "before:training.registry:register",
        "after:training.registry:_index",
        "after:training.registry:register",
    ],
}


@pytest.mark.parametrize("part", MOMENTS)
def test_killed_at_any_moment_it_goes_on(
    part: str, tuned: Any, log: tuple[Path, Path], base: Path, tmp_path: Path
) -> None:
    _, whole, _ = tuned
    home = tmp_path / "home"
    environment = {**os.environ, "MSR_LOCAL_HOME": str(home)}

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, timeout=300
        )

    assert run("-m", "msr_local", "ingest", *log).returncode == 0
    command = [*options(base), "--name", "first", "--json"]
    for number, moment in enumerate(MOMENTS[part]):
        # The same command goes on by itself; --resume says so aloud.
        arguments = ["finetune", "--resume", "--name", "first", "--json"] if number % 2 else command
        ran = run(Path(__file__).with_name("killed.py"), moment, *arguments)
        assert ran.returncode == -9, f"{moment}: {ran.returncode} {ran.stderr}"
        registered = [path.name for path in (home / "adapters").glob("*")] if (home / "adapters").exists() else []
        complete = [name for name in registered if (home / "adapters" / name / "manifest.json").exists()]
        assert registered == complete, moment
        listed = run("-m", "msr_local", "adapters", "list", "--json")
        assert listed.returncode == 0 and all(row["problem"] is None for row in json.loads(listed.stdout)), moment
    done = run("-m", "msr_local", *command)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
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
