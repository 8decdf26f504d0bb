"""Fixtures: one engine for all tests of the recipe, and an empty shop to ask it about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from recipe_shop import Record, Shop

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig
from msr_local.models.spec import Cast
from msr_local.store.workspace import Workspace


@pytest.fixture(scope="session")
def running(tiny: EngineConfig) -> Iterator[EngineProcess]:
    with EngineProcess(tiny) as engine:
        yield engine


@pytest.fixture
def recipe_shop(workspace: Workspace, tmp_path: Path, tiny: EngineConfig, running: EngineProcess) -> Shop:
    return Shop(workspace, tmp_path, Cast(tiny, "a" * 64, "b" * 64, "option"), running, Record())
