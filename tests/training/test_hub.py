"""Bases from a hub on loopback: pulled, kept for offline, and refused with the next step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import loopback_hub
import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ASK = """
import json, sys
from pathlib import Path
from msr_local.errors import ModelError
from msr_local.training import bases, convert
for name in sys.argv[1:]:
    try:
        base = bases.resolve(name, convert.converter)
        print(json.dumps([base.name, str(base.folder), base.licence, base.sha256]))
    except ModelError as error:
        print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module")
def hub(tiny_llama, tmp_path_factory):
    folder = shutil.copytree(tiny_llama, tmp_path_factory.mktemp("hub") / "model")
    (folder / "modeling_tiny.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with loopback_hub.serve(folder) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def ask(url, home, tools, *names, **more):
    """Resolve in a process of its own: huggingface_hub reads its environment when it is imported."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home / "hf"),
        "XDG_CACHE_HOME": str(home),
        "MSR_LOCAL_LLAMA_CPP": str(tools),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names], env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def pulled(hub, home, tools):
    hub.cut.add("model.safetensors")  # the line breaks once in the middle
    return ask(hub.url, home, tools, loopback_hub.MODEL)[0]


def test_a_model_is_pulled_from_the_hub(pulled, hub, home, tiny_llama):
    name, folder, licence, sha256 = pulled
    assert name == f"{loopback_hub.MODEL}@{loopback_hub.COMMIT}"
    assert (Path(folder).name, licence, len(sha256)) == (loopback_hub.COMMIT, "mit", 64)
    assert Path(folder).is_relative_to(home / "hf")
    assert {path.name for path in Path(folder).iterdir()} == {path.name for path in tiny_llama.iterdir()}
    assert (Path(folder) / "model.safetensors").read_bytes() == (tiny_llama / "model.safetensors").read_bytes()
    fetches = [asked for asked in hub.asked if asked.startswith("GET") and "model.safetensors" in asked]
    assert len(fetches) == 2  # tried again after it broke off
    assert not [asked for asked in hub.asked if "modeling_tiny" in asked or ".bin" in asked]


def test_a_pulled_model_is_there_offline(pulled, hub, home, tools):
    before = len(hub.asked)
    pinned = f"{loopback_hub.MODEL}@{loopback_hub.COMMIT}"
    assert ask(hub.url, home, tools, loopback_hub.MODEL, pinned, HF_HUB_OFFLINE="1") == [pulled, pulled]
    assert len(hub.asked) == before


def test_a_pulled_model_is_there_when_the_hub_is_not(pulled, home, tools):
    assert ask("http://127.0.0.1:9", home, tools, loopback_hub.MODEL) == [pulled]


def test_a_folder_wins_over_the_hub(pulled, home, hub, tools, tiny_llama):
    here = shutil.copytree(tiny_llama, home / loopback_hub.MODEL)
    try:
        ((name, folder, *_),) = ask(hub.url, home, tools, loopback_hub.MODEL)
    finally:
        shutil.rmtree(here)
    assert name == folder == str(here)


def test_what_a_hub_refuses_is_said_with_the_next_step(hub, tmp_path, tools):
    names = [f"{loopback_hub.MODEL}@v9", loopback_hub.GATED, loopback_hub.PRIVATE, "tiny/none", "tiny/bad..name"]
    revision, gated, private, missing, invalid = ask(hub.url, tmp_path, tools, *names)
    assert "no revision v9" in revision
    assert "is gated" in gated
    assert "HF_TOKEN" in gated
    assert "the hub refuses access" in private
    assert "HF_TOKEN" in private
    assert "no such repository on the hub, or it is private" in missing
    assert "not a valid name of a repository" in invalid
    assert all("Next: " in said for said in (revision, gated, private, missing, invalid))


@pytest.mark.parametrize("more", [{"HF_HUB_OFFLINE": "1"}, {}])
def test_a_model_that_is_neither_here_nor_reachable(tmp_path, tools, more):
    pinned = f"{loopback_hub.MODEL}@{loopback_hub.COMMIT}"
    for said in ask("http://127.0.0.1:9", tmp_path, tools, loopback_hub.MODEL, pinned, **more):
        assert "the hub cannot be reached (" in said
        assert "Next: run this once while online" in said


def test_a_download_that_was_killed_is_not_taken_for_a_model_offline(pulled, home, hub, tools):
    shard = Path(pulled[1]) / "model.safetensors"
    target = shard.resolve()
    shard.unlink()
    try:
        (said,) = ask(hub.url, home, tools, loopback_hub.MODEL, HF_HUB_OFFLINE="1")
    finally:
        shard.symlink_to(target)
    assert "no complete copy in the Hugging Face cache" in said
