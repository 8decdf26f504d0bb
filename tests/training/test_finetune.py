"""`msr-local finetune` from histories to an active recommender, on a tiny random model and with everything real."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from goods import options, trained

from msr_local.files import sha256

pytest.importorskip("transformers", reason="training needs the extra train")
pytest.importorskip("peft", reason="training needs the extra train")


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


def test_the_list_is_in_the_order_of_its_calibrated_probability(tuned: Any) -> None:
    _, document, call = tuned
    items = call("recommend", "u1", "--json").json["items"]
    scaling = document["fusion"]["calibration"]["recall"]
    assert scaling["a"] > 0 and document["fusion"]["calibration"]["learned"] is None
    for item in items:
        p = 1 / (1 + np.exp(-(scaling["a"] * item["score"] + scaling["b"])))
        assert item["probability"] == pytest.approx(p, abs=1e-9)
        assert item["p_yes"] == pytest.approx(1 / (1 + np.exp(-item["log_odds"])), abs=1e-9)
    assert [item["probability"] for item in items] == sorted((item["probability"] for item in items), reverse=True)
    assert [line.split()[2:4] for line in call("recommend", "u1").out.splitlines() if "#" in line] == [
        ["probability", "p(yes)"]
    ]
    other = call("recommend", "u1", "--recipe", "full", "--json")
    assert "trained with another recipe" in other.err and "was not calibrated" in other.err
    assert all(item["probability"] is None for item in other.json["items"])


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


def test_the_manifest_names_all_prompts_that_shape_a_question(tuned: Any) -> None:
    _, document, _ = tuned
    read = ["preference_first", "preference_update"] if document["recipe"]["summary"] else []
    assert set(document["prompts"]) >= {"score", *read}


def test_a_training_set_for_a_folder_that_is_not_there_is_refused_at_once(tuned: Any, tmp_path: Path) -> None:
    ran = tuned[2]("finetune", "--export", tmp_path / "none" / "rows.jsonl")
    assert ran.code == 2 and "there is no folder" in ran.err


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
    assert ran.json["active"] is False and "Next: msr-local adapters use second" in ran.err
    assert call("adapters", "use", "second").code == 0
    again = call(*options(base, quantise="f16", epochs=0.5), "--name", "second", "--json")
    assert ran.code == again.code == 0, ran.err + again.err
    assert ran.json["run_id"] != again.json["run_id"]
    # The same data, settings and seed: the same training.
    assert ran.json["run"]["training"]["best_auc"] == pytest.approx(document["run"]["training"]["best_auc"], abs=0.02)
    assert again.json["active"] is True and "adapters use" not in again.err  # nothing had to be chosen anew
    listed = trained(call)
    assert set(listed) == {"first", "second"} and listed["second"]["active"] and not listed["first"]["active"]
    assert call("adapters", "use", "first").code == 0
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
