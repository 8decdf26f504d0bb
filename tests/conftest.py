"""Fixtures: real engines on tiny random models, real SQLite, and the command line in this process."""

from __future__ import annotations

import signal

import cores

cores.take_one()  # before anything is imported that counts cores
signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored, here and in children, if started with nohup

# ruff: noqa: E402
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import tiny_models
from samples import Ran

from msr_local.cli import run
from msr_local.engine.types import EngineConfig
from msr_local.store.workspace import Workspace

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is slow, and that is no fault
hypothesis.settings.load_profile("any machine")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _no_surprises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as msr_local.catalogue.images does, which pytest undoes
    monkeypatch.delenv("MSR_LOCAL_DEBUG", raising=False)
    monkeypatch.setenv("MSR_LOCAL_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text.gguf, eyes.gguf and adapter.gguf."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.text_model(folder / "text.gguf")
    tiny_models.projector(folder / "eyes.gguf")
    tiny_models.adapter(folder / "adapter.gguf")
    return folder


@pytest.fixture(scope="session")
def tiny(models: Path) -> EngineConfig:
    """The tiny model with eyes and one adapter, on one thread."""
    return EngineConfig(
        models / "text.gguf", models / "eyes.gguf", {"caption": models / "adapter.gguf"}, context=1024, threads=1
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path / "home") as opened:
        yield opened


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real data beside the project."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data, which is not distributed with the project")
    return SHARED


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run msr-local in this process; the workspace is the test's own unless --home is given."""

    def call(*arguments: object) -> Ran:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["msr-local", *map(str, arguments)])
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = run()
        return Ran(code, *(s.buffer.getvalue().decode() for s in (out, err)))  # type: ignore[attr-defined]

    return call


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, Path]:
    """A small catalogue with pictures and interactions: (items.csv, interactions.csv)."""
    from PIL import Image as Pillow

    folder = tmp_path / "shop"
    (folder / "img").mkdir(parents=True)
    items = ["item_id,title,genres,image"]
    for i in range(12):
        name = f"img/{i}.png"
        Pillow.new("RGB", (40, 30), (20 * i, 255 - 20 * i, 90)).save(folder / name)
        items.append(
            f'i{i},"Film {i}, the {"best" if i % 2 else "worst"}",{"Comedy|Drama" if i % 2 else "Horror"},{name}'
        )
    steps = ["user_id,item_id,timestamp,rating"]
    for u in range(6):
        steps += [f"u{u},i{(u + j) % 12},{1_000_000_000 + 1000 * j},{3 + j % 3}" for j in range(4 + u)]
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    (folder / "interactions.csv").write_text("\n".join(steps) + "\n")
    return folder / "items.csv", folder / "interactions.csv"
