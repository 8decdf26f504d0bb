"""`msr-local calibrate` at a terminal and in a pipe: what it shows, what uses it, and what cannot be."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import Ran

Cli = Callable[..., Ran]
FILMS = [f"f{n:02}" for n in range(24)]
QUICK = ("--recipe", "history")


@pytest.fixture
def stocked(cli: Cli, tmp_path: Path, models: Path) -> None:
    """Forty people with one of two tastes."""
    lot, rows = random.Random(7), ["user_id,item_id"]
    for user in range(40):
        rows += [f"u{user:02},{film}" for film in lot.sample(FILMS[user % 2 * 12 :][:12], 6)]
    (tmp_path / "log.csv").write_text("\n".join(rows))
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title", *(f"{film},Film {film}" for film in FILMS)]))
    assert cli("models", "use", "--model", models / "text.gguf").code == 0
    assert cli("ingest", tmp_path / "items.csv", tmp_path / "log.csv").code == 0


def test_what_was_fitted_gives_the_list_its_probability(cli: Cli, stocked: None) -> None:
    before = cli("recommend", "u00", *QUICK)
    assert "Next: msr-local calibrate" in " ".join(before.err.split())
    done = cli("calibrate", *QUICK, "--users", "30", "--json")
    assert done.code == 0, done.err
    assert 20 <= done.json["users"] <= 30 and done.json["recall"] == "hand-set"
    for way in ("recall", "answers", "both"):
        low, high = done.json["mrr"][way]["ci95"]
        assert 0 < low <= done.json["mrr"][way]["value"] <= high <= 1
    scaling = done.json["fused"]["calibration"]
    after = cli("recommend", "u00", *QUICK, "--json")
    assert scaling is None or json.loads(after.out)["items"][0]["probability"] > 0
    assert "calibrate" not in after.err or scaling is None


def test_a_person_reads_what_recall_and_answers_are_worth(cli: Cli, stocked: None) -> None:
    done = cli("calibrate", *QUICK)
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "recall alone" in said and "the model's answers alone" in said and "both, as fitted to other users" in said
    assert "x recall (hand-set); before, it was 16.0" in said
    assert max(map(len, done.out.splitlines())) <= 80
    shown = cli("status", "--json").json
    assert shown["calibrated"] is None  # by the recipe of the workspace nothing was fitted
    again = cli("calibrate", *QUICK, "--reset")
    assert again.code == 0 and "Nothing is fitted to this workspace now: score = answer + 16.0" in again.out


def test_status_says_whether_the_score_was_fitted_here(cli: Cli, stocked: None) -> None:
    assert cli("status", "--json").json["calibrated"] is None
    done = cli("calibrate", "--json")
    assert done.code == 0, done.err
    assert cli("status", "--json").json["calibrated"] == f"to what {done.json['users']} users took"
    assert f"to what {done.json['users']} users took" in cli("status").out


def test_too_few_users_are_told(cli: Cli, tmp_path: Path, models: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\na,A\nb,B\nc,C\n")
    (tmp_path / "log.csv").write_text("user_id,item_id\nu,a\nu,b\nv,b\nv,c\n")
    assert cli("ingest", tmp_path / "items.csv", tmp_path / "log.csv").code == 0
    done = cli("calibrate", *QUICK, "--model", models / "text.gguf")
    assert done.code == 1 and "0 users took latest: too few to fit anything (needed: 20). Next: ingest more" in done.err
    assert "Traceback" not in done.err


def test_an_empty_workspace_is_told(cli: Cli, models: Path) -> None:
    done = cli("calibrate", *QUICK, "--model", models / "text.gguf")
    assert done.code == 1 and "Next:" in done.err and "Traceback" not in done.err


def test_options_that_fit_nothing_are_refused(cli: Cli) -> None:
    assert cli("calibrate", "--users", "5").code == 2
