"""A model behind a real llama.cpp server: its numbers are those of the engine here."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from msr_local.engine.answers import spellings
from msr_local.engine.llama.process import EngineProcess, quantise_in_child
from msr_local.engine.remote import RemoteEngine
from msr_local.engine.types import EngineConfig, Question, ServerConfig

pytest.importorskip("openai")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in F16 that would say yes or no to everything: a random one does not even think of either."""
    folder = tmp_path_factory.mktemp("spoken")
    loud = tuple(one for word in ("yes", "no") for one in spellings(word) if one.strip() != "YES")  # no token has that
    quantise_in_child(tiny_models.text_model(folder / "f32.gguf", loud=loud), folder / "f16.gguf", ftype=1)
    return folder / "f16.gguf"


@pytest.fixture(scope="module")
def real(spoken: Path) -> Iterator[str]:
    """llama-cpp-python's server."""
    pytest.importorskip("fastapi", reason="llama-cpp-python[server] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "llama_cpp.server", "--model", str(spoken), "--logits_all", "true",
        "--n_ctx", "512", "--port", str(port), "--n_threads", "1",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        url = f"http://127.0.0.1:{port}/v1"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/models", timeout=1).close()
                break
            except OSError:
                assert running.poll() is None, "the server ended"
                time.sleep(0.1)
        yield url
        running.terminate()


def test_a_real_server_answers_as_the_engine_does(real: str, spoken: Path) -> None:
    """A server makes tokens of the whole question; the engine begins a new one where the shared part ends: so, none."""
    questions = [
        Question("Answer Yes or No.", "", f"A person likes {taste}. Item {n}, a {word} one?")
        for n in range(20)
        for word in ("red", "blue", "small", "quiet", "second-hand")
        for taste in ("tea", "old films")
    ]
    with EngineProcess(EngineConfig(spoken, context=512, threads=1)) as local:
        wanted = list(local.answers(questions))
    engine = RemoteEngine(ServerConfig(real, together=1))
    found = list(engine.answers(questions))
    engine.close()
    assert engine.can.log_odds == "top" and len(questions) == 200
    assert min(one.coverage for one in found) > 0.5 and np.std([one.z for one in wanted]) > 0.4
    assert [one.z for one in found] == pytest.approx([one.z for one in wanted], abs=0.02)
