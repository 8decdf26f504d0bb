"""Fixtures: a repository that is served by a hub on loopback, and an empty cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import loopback_hub
import pytest
import tiny_models
from loopback_hub import Hub

from msr_local.models import hub

TOKEN = "hf_secretsecretsecret"
WEIGHTS = 500_000  # values in each stub


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository's files."""
    folder = tmp_path_factory.mktemp("published")
    facts = {
        "tokenizer__chat_template": tiny_models.PLAIN_CHAT,
        "llama__embedding_length": 8,
        "llama__context_length": 512,
    }
    for number, quant in enumerate(("Q4_K_M", "Q8_0")):
        tiny_models.stub(folder / f"tiny-{quant}.gguf", size=WEIGHTS + number, **facts)
    for number in range(2):
        path = folder / "big" / f"tiny-F16-{number + 1:05}-of-00002.gguf"
        tiny_models.stub(path, size=WEIGHTS + 8 + number, split__no=number, split__count=2, **facts)
    sees = {"clip__has_vision_encoder": True, "clip__vision__projection_dim": 8, "clip__projector_type": "idefics3"}
    tiny_models.stub(folder / "mmproj-tiny-F16.gguf", "clip", size=1000, **sees)
    (folder / "README.md").write_text("# tiny\n")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and nothing of this machine's own settings."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING", "LLAMA_", "XDG_CACHE")):
            monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(hub, "_PAUSE", 0.01)
    return tmp_path / "cache"


@pytest.fixture
def served(published: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with loopback_hub.serve(published) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
