"""`msr-local adapters`: what is listed, what is refused, and what answers afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import based_on, manifest, staged
from samples import Ran

from msr_local.models import choice, embedded, registry, shipped
from msr_local.prompts import PromptTemplate
from msr_local.store.workspace import Workspace

Cli = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def _no_embedded_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "prepared_path", lambda: tmp_path / "embedded.gguf")
    monkeypatch.setattr(shipped, "find", lambda *_: None)
    monkeypatch.setattr(choice, "shipped_recommender", lambda *_: None)


def put(home: Path, name: str = "first", **more: Any) -> Path:
    with Workspace(home) as workspace:
        return registry.register(workspace, *staged(home, name, **more))


def settings(home: Path) -> tuple[Any, Any]:
    with Workspace(home) as workspace:
        return registry.active(workspace), workspace.setting("model")


def fails(ran: Ran, *said: str, code: int = 1) -> None:
    assert (ran.code, ran.out) == (code, ""), ran.err
    assert "Next:" in ran.err and all(one in ran.err for one in said), ran.err


# list


def test_no_adapters(cli: Cli) -> None:
    assert cli("adapters", "list", "--json").json == []
    shown = cli("adapters", "list")
    assert shown.code == 0 and "nothing here yet" in shown.out
    assert "list" in cli("adapters").out


def test_adapters_are_listed_with_all_that_one_chooses_by(cli: Cli, home: Path) -> None:
    put(home)
    put(home, "second", recipe={}, metrics={"after": {"auc": "?"}}, content={"merged": b"GGUF"})
    assert cli("adapters", "use", "first").code == 0
    first, second = cli("adapters", "list", "--json").json
    assert {key: first[key] for key in first if key != "files"} == {
        "name": "first", "active": True, "form": "adapter", "base": "embedded", "recipe": "full", "auc": 0.7123,
        "auc_ci95": [0.69, 0.73], "auc_before": None, "bytes": 26, "backend": "peft", "run_id": "r1",
        "created": "2026-01-02T03:04:05+00:00", "problem": None, "shipped": False,
    }  # fmt: skip
    assert set(first["files"]) == {"adapter", "merged"}
    assert (second["active"], second["form"], second["recipe"], second["auc"]) == (False, None, None, None)
    shown = cli("adapters", "list").out
    assert "0.712 (0.690 to 0.730)" in shown and "2026-01-02" in shown and "embedded" in shown
    assert len(shown.splitlines()) == 3


def test_problems_are_listed(cli: Cli, home: Path) -> None:
    put(home)
    (put(home, "second") / "merged.gguf").unlink()
    (put(home, "third") / "manifest.json").write_text("{")
    put(home, "fourth", prompts={"score": "another"})
    problems = {row["name"]: row["problem"] for row in cli("adapters", "list", "--json").json}
    assert problems["first"] is None
    assert "it is missing" in problems["second"]
    assert "not a usable manifest" in problems["third"]
    assert "version of the prompt 'score'" in problems["fourth"]
    ran = cli("adapters", "list")
    assert ran.code == 0 and "fourth: adapter fourth was trained" in " ".join(ran.out.split())


def test_a_hostile_manifest_only_prints_text(cli: Cli, home: Path) -> None:
    nasty = "\x1b[2J[red]\u202e\u009b31m"
    base = manifest().base | {"name": nasty}
    put(home, base=base, recipe={"name": nasty}, run_id=nasty, created=nasty, prompts={f"../../{nasty}": "x"})
    for arguments in (("list",), ("list", "--json"), ("use", "first"), ("use", nasty), ("rm", nasty)):
        ran = cli("adapters", *arguments)
        assert not {"\x1b", "\u009b", "\u202e"} & set(ran.out + ran.err), arguments
    assert "[red]" in cli("adapters", "list").out


def test_an_active_adapter_that_is_gone_is_told(cli: Cli, home: Path, tmp_path: Path) -> None:
    place = put(home)
    cli("adapters", "use", "first")
    place.rename(tmp_path / "away")
    ran = cli("adapters", "list", "--json")
    assert ran.json == [] and "first is not there" in ran.err
    assert cli("adapters", "use", "none").code == 0
    assert cli("adapters", "list").err == ""


# use


def test_an_adapter_and_its_base_answer_from_now_on(cli: Cli, home: Path, models: Path) -> None:
    put(home, base=based_on(models / "text.gguf", models / "eyes.gguf"))
    ran = cli("adapters", "use", "first", "--json")
    paths = {"model": str(models / "text.gguf"), "mmproj": str(models / "eyes.gguf")}
    assert (ran.code, ran.json) == (0, {"adapter": "first", "form": "adapter", **paths}), ran.err
    assert settings(home) == (("first", "adapter"), paths)
    merged = cli("adapters", "use", "first", "--form", "merged")
    assert "adapter first, merged" in merged.out
    assert settings(home) == (("first", "merged"), paths)
    none = cli("adapters", "use", "none")
    assert (none.code, "text.gguf" in none.out.replace("\n", "")) == (0, True)
    assert settings(home) == (("none", "adapter"), paths)


def test_an_adapter_of_the_embedded_model_brings_it_back(cli: Cli, home: Path, models: Path) -> None:
    cli("models", "use", "--model", models / "text.gguf")
    put(home)
    ran = cli("adapters", "use", "first")
    assert (ran.code, ran.out) == (0, "This workspace is now answered by adapter first on the embedded model.\n")
    assert settings(home) == (("first", "adapter"), None)


def test_another_embedded_model_than_that_of_the_adapter_is_refused(cli: Cli, home: Path, tmp_path: Path) -> None:
    put(home)
    (tmp_path / "embedded.gguf").write_bytes(b"of a later release")
    fails(cli("adapters", "use", "first"), "another model")
    assert settings(home) == (None, None)


def test_the_same_model_elsewhere_is_kept(cli: Cli, home: Path, models: Path, tmp_path: Path) -> None:
    original = tmp_path / "original.gguf"
    original.write_bytes((models / "text.gguf").read_bytes())
    put(home, base=based_on(original))
    original.unlink()
    cli("models", "use", "--model", models / "text.gguf", "--mmproj", models / "eyes.gguf")
    assert cli("adapters", "use", "first").code == 0
    paths = {"model": str(models / "text.gguf"), "mmproj": str(models / "eyes.gguf")}
    assert settings(home) == (("first", "adapter"), paths)


def test_a_base_that_is_gone_or_changed_is_refused(cli: Cli, home: Path, models: Path, tmp_path: Path) -> None:
    original = tmp_path / "original.gguf"
    original.write_bytes((models / "text.gguf").read_bytes())
    put(home, base=based_on(original))
    original.write_bytes(b"something else")
    fails(cli("adapters", "use", "first"), "original.gguf", "has changed since")
    original.unlink()
    fails(cli("adapters", "use", "first"), "original.gguf", "is missing")
    assert settings(home) == (None, None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("frist", "Did you mean first?"),
        ("../first", "cannot be the name"),
        ("broken", "not a usable manifest"),
        ("short", "instead of"),
        ("reprompted", "version of the prompt 'score'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(cli: Cli, home: Path, name: str, said: str) -> None:
    put(home)
    (put(home, "broken") / "manifest.json").write_text("{}")
    (put(home, "short") / "adapter.gguf").write_text("x")
    put(home, "reprompted", prompts={"score": "another"})
    cli("adapters", "use", "first")
    fails(cli("adapters", "use", name, "--json"), said)
    assert settings(home) == (("first", "adapter"), None)


def test_a_form_that_is_not_there_is_refused(cli: Cli, home: Path) -> None:
    put(home, content={"merged": b"GGUF"})
    fails(cli("adapters", "use", "first"), "--form merged")
    fails(cli("adapters", "use", "first", "--form", "other"), "--form", code=2)
    assert cli("adapters", "use", "first", "--form", "merged").code == 0


def test_the_workspaces_own_prompts_count(cli: Cli, home: Path) -> None:
    put(home, prompts={"score": PromptTemplate("score").sha256})
    assert cli("adapters", "use", "first").code == 0
    shipped = Path(PromptTemplate("score").path).read_text()
    (home / "prompts").mkdir()
    (home / "prompts" / "score.j2").write_text(shipped + "\n{# mine #}")
    fails(cli("adapters", "use", "first"), "version of the prompt 'score'")


# rm


def test_adapters_are_deleted(cli: Cli, home: Path) -> None:
    for name in ("first", "second", "third"):
        put(home, name)
    ran = cli("adapters", "rm", "third", "first", "third", "--json")
    assert (ran.code, ran.json) == (0, {"removed": ["third", "first"], "deactivated": False})
    assert [place.name for place in (home / "adapters").iterdir()] == ["second"]
    assert cli("adapters", "rm", "second").out == "Deleted second.\n"


def test_all_are_deleted_or_none(cli: Cli, home: Path) -> None:
    put(home)
    fails(cli("adapters", "rm", "first", "second"), "no adapter 'second'")
    assert len(cli("adapters", "list", "--json").json) == 1


def test_the_active_adapter_is_deleted_only_by_force(cli: Cli, home: Path) -> None:
    put(home)
    cli("adapters", "use", "first")
    fails(cli("adapters", "rm", "first"), "active", "--force")
    assert settings(home)[0] == ("first", "adapter")
    ran = cli("adapters", "rm", "first", "--force", "--json")
    assert (ran.code, ran.json) == (0, {"removed": ["first"], "deactivated": True})
    assert settings(home) == (None, None)
    assert cli("adapters", "list", "--json").json == []


def test_a_broken_adapter_can_be_deleted(cli: Cli, home: Path) -> None:
    (put(home) / "manifest.json").write_text("{")
    assert cli("adapters", "rm", "first").code == 0
    assert not (home / "adapters" / "first").exists()


def test_the_index_is_there_for_readers_of_tables(cli: Cli, home: Path) -> None:
    put(home)
    with Workspace(home) as workspace:
        text = workspace.one("SELECT manifest FROM adapters")
    assert json.loads(text) == manifest().to_json()
