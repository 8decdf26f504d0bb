"""What other programs keep on this machine: looked at, never changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from samples import Ran

CHATS = {"tokenizer__chat_template": tiny_models.PLAIN_CHAT, "llama__embedding_length": 8}
SEES = {"clip__has_vision_encoder": True, "clip__projector_type": "idefics3", "clip__vision__projection_dim": 8}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING", "LLAMA_", "OLLAMA")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user" / ".cache"))
    return tmp_path / "user"


def test_models_of_other_programs_are_found_and_left_alone(cli: Callable[..., Ran], user: Path) -> None:
    old = user / ".cache" / "llama.cpp"
    tiny_models.stub(old / "org_repo_m-Q8_0.gguf", **CHATS)
    studio = user / ".lmstudio" / "models" / "pub" / "repo"
    tiny_models.stub(studio / "m-Q4_K_M.gguf", **CHATS)
    tiny_models.stub(studio / "mmproj-m.gguf", "clip", **SEES)
    (studio / "cut.gguf").write_bytes((studio / "m-Q4_K_M.gguf").read_bytes()[:-40])
    ollama = user / ".ollama" / "models"
    blob = tiny_models.stub(ollama / "blobs" / "x", **CHATS)
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()
    blob = blob.rename(ollama / "blobs" / f"sha256-{digest}")
    manifest = ollama / "manifests" / "registry.ollama.ai" / "library" / "some" / "2b"
    manifest.parent.mkdir(parents=True)
    layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}]
    manifest.write_text(json.dumps({"layers": layers}))
    (manifest.parent / "broken").write_text("{")
    before = {path: path.stat().st_mtime_ns for path in user.rglob("*")}

    rows = {(row["program"], row["name"]): row for row in cli("models", "scan", "--json").json}
    assert set(rows) == {
        ("llama.cpp", "org_repo_m-Q8_0.gguf"), ("LM Studio", "pub/repo/m-Q4_K_M.gguf"),
        ("LM Studio", "pub/repo/cut.gguf"), ("Ollama", "some:2b"),
    }  # fmt: skip
    assert rows["LM Studio", "pub/repo/m-Q4_K_M.gguf"]["mmproj"] == str(studio / "mmproj-m.gguf")
    assert "cut off" in rows["LM Studio", "pub/repo/cut.gguf"]["problem"]
    assert rows["Ollama", "some:2b"]["problem"] is None
    assert "cut off" in cli("models", "scan").out
    assert {path: path.stat().st_mtime_ns for path in user.rglob("*") if path in before} == before
    assert cli("models", "use", rows["Ollama", "some:2b"]["model"]).code == 0


def test_a_machine_without_any(cli: Callable[..., Ran], user: Path) -> None:
    ran = cli("models", "scan", "--json")
    assert (ran.code, ran.json) == (0, [])
    assert cli("models", "scan").code == 0
