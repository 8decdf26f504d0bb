"""What was pulled: listed, shown, deleted; and where caches are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback_hub import COMMIT, MODEL, Hub
from samples import Ran

from msr_local import Workspace
from msr_local.models import hub, hub_cache, own_aliases
from msr_local.models.choice import chosen_model
from msr_local.models.find import find

Cli = Callable[..., Ran]
TOKEN = "hf_secretsecretsecret"
WEIGHTS = 500_000  # values in each stub


# ---- list, show, rm


def test_what_was_pulled_is_listed_shown_and_deleted(cli: Cli, workspace: Workspace, served: Hub, home: Path) -> None:
    for quant in ("Q8_0", "Q4_K_M"):
        assert cli("models", "pull", f"{MODEL}:{quant}").code == 0
    assert cli("models", "use", f"{MODEL}:Q8_0").code == 0
    rows = {row["name"]: row for row in cli("models", "list", "--json").json}
    mine, other = rows[f"{MODEL}:Q8_0"], rows[f"{MODEL}:Q4_K_M"]
    assert (mine["active"], mine["sees"], mine["quantisation"], mine["fits"]) == (True, True, "Q8_0", True)
    assert mine["bytes"] > WEIGHTS and not other["active"] and not rows["embedded"]["active"]
    assert rows["smolvlm2-500m"]["model"] is None and rows["smolvlm2-500m"]["licence"] == "Apache-2.0"
    assert cli("models").out == cli("models", "list").out and f"{MODEL}:Q8_0" in cli("models").out
    shown = cli("models", "show", f"{MODEL}:Q8_0", "--json").json
    assert (shown["architecture"], shown["context"], shown["chat_template"]) == ("llama", 512, True)
    ran = cli("models", "rm", f"{MODEL}:Q8_0")
    assert ran.code == 1 and "answers in this workspace" in ran.err
    removed = cli("models", "rm", f"{MODEL}:Q4_K_M", "--json").json
    assert removed["files"] == ["tiny-Q4_K_M.gguf"] and WEIGHTS < removed["bytes"] < other["bytes"]
    assert find(f"{MODEL}:Q8_0") is not None
    removed = cli("models", "rm", f"{MODEL}:Q8_0", "--force", "--json").json
    assert removed["files"] == ["tiny-Q8_0.gguf", "mmproj-tiny-F16.gguf"]
    assert chosen_model(workspace) is None and not (home / "models--tiny--llama").exists()


def test_a_cache_below_the_current_folder_is_the_same_cache(
    cli: Cli, workspace: Workspace, served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", "x/../cache")
    assert cli("models", "pull", f"{MODEL}:Q8_0", "--use").code == 0
    (mine,) = (row for row in cli("models", "list", "--json").json if row["active"])
    assert mine["name"] == f"{MODEL}:Q8_0"
    ran = cli("models", "rm", f"{MODEL}:Q8_0")
    assert ran.code == 1 and "answers in this workspace" in ran.err
    assert cli("models", "rm", f"{MODEL}:Q8_0", "--force").code == 0 and chosen_model(workspace) is None


def test_a_dry_run_of_what_is_here_chooses_nothing(
    cli: Cli, workspace: Workspace, served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_aliases, "data_folder", lambda: tmp_path / "data")
    assert cli("models", "pull", f"{MODEL}:Q8_0").code == 0
    ran = cli("models", "pull", f"{MODEL}:Q8_0", "--dry-run", "--offline", "--use", "--alias", "mine", "--json")
    assert ran.code == 0 and Path(ran.json["model"]).is_file() and ran.json["used"] is False
    assert chosen_model(workspace) is None and own_aliases.own() == {}


def test_a_pulled_model_that_is_gone_says_how_to_get_it_back(cli: Cli, served: Hub, home: Path) -> None:
    assert cli("models", "pull", f"{MODEL}:Q8_0", "--use").code == 0
    shutil.rmtree(home)
    ran = cli("recommend", "u")
    assert ran.code == 1 and f"Next: msr-local models pull hf://{MODEL}@{COMMIT}/tiny-Q8_0.gguf" in ran.err


def test_only_pulled_models_are_deleted(cli: Cli, home: Path, models: Path) -> None:
    ran = cli("models", "rm", models / "text.gguf")
    assert ran.code == 1 and "by hand" in ran.err and (models / "text.gguf").exists()
    assert cli("models", "rm", "embedded").code == 1


def test_an_alias_says_what_was_tried(cli: Cli, home: Path) -> None:
    shown = cli("models", "show", "smolvlm2-500m", "--json").json
    assert shown["model"] is None and "not tried" in shown["tried"] and shown["repository"].startswith("ggml-org/")
    assert cli("models", "show", "qwen3-1.7b", "--json").json["tried"].startswith("nothing")
    assert "about 2,263 MB" in cli("models", "show", "qwen3-vl-2b").out


# ---- where caches are


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({}, ".cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "x"}, "x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "x", "HF_HOME": "h"}, "h/hub"),
        ({"HF_HOME": "h", "HUGGINGFACE_HUB_CACHE": "g"}, "g"),
        ({"HUGGINGFACE_HUB_CACHE": "g", "HF_HUB_CACHE": "c"}, "c"),
        ({"HF_HUB_CACHE": "c", "LLAMA_CACHE": "l"}, "l"),
    ],
)
def test_the_cache_is_where_llama_cpp_has_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], place: str
) -> None:
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert hub_cache.folder() == tmp_path / place


@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_a_reason_has_no_token_and_no_signed_address(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    """The pull and the download of a training base tell errors by this one function."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    signed = "https://me:pass@cdn.example/file.gguf?X-Signature=abc&token=def"
    said = hub.safe_reason(kind(f"403 for {signed} with {TOKEN}.\nmore"))
    assert said == "403 for https://cdn.example/file.gguf with …"
