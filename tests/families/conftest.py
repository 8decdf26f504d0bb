"""The tiny model of each family, converted once a session, with transformers' model and tokenizer beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_families
from once import once
from warm import TRAINING, Warm

from msr_local.engine.types import EngineConfig
from msr_local.errors import ModelError
from msr_local.training import bases, convert
from msr_local.training.bases import Base, resolve
from msr_local.training.convert import converter, quantise


@pytest.fixture(scope="session", autouse=True)
def _converted_at_once() -> Iterator[None]:
    """Conversions are run by a process that has imported everything."""
    pytest.importorskip("transformers")
    pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        @cache
        def started() -> Warm:
            return stack.enter_context(Warm(*TRAINING))

        patch.setattr(convert, "_execute", lambda command, environment: started().execute(command, environment))
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Base]:
    """The base of a family by its name, as training and the engine load it."""
    try:
        tools = converter()
    except ModelError as error:
        pytest.skip(f"the converter cannot be fetched: {error}")

    def make(name: str) -> Base:
        def write(folder: Path) -> None:
            tiny_families.FAMILIES[name](folder / name)
            _resolved(folder, name, tools)

        return _resolved(once(tmp_path_factory, f"family-{name}", write), name, tools)

    return cache(make)


def _resolved(folder: Path, name: str, tools: Path) -> Base:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bases, "cache_folder", lambda: folder / "cache")  # not the user's
        return resolve(str(folder / name), lambda: tools)


@pytest.fixture(scope="session")
def config(made: Callable[[str], Base]) -> Callable[..., EngineConfig]:
    """How an engine loads a family: `quantised` as Q4_K_M."""

    def load(name: str, *, quantised: bool = False, **options: Any) -> EngineConfig:
        base = made(name)
        model = base.model
        if quantised:
            model = model.with_name("model.q4_k_m.gguf")
            if not model.exists():
                quantise(base.model, model, "q4_k_m")
        return EngineConfig(model, base.projector, **{"threads": 1, "context": 2048, **options})

    return load


@pytest.fixture(scope="session")
def theirs(made: Callable[[str], Base]) -> Callable[[str], tuple[Any, Any]]:
    """transformers' model of a family in float32, and its tokenizer."""

    @cache
    def load(name: str) -> tuple[Any, Any]:
        from transformers import AutoTokenizer

        from msr_local.training.backends import load_plain

        folder = made(name).folder
        return load_plain(folder).eval(), AutoTokenizer.from_pretrained(folder)

    return load
