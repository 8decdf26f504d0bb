"""Fixtures: a shop with two tastes, asked through a real engine."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluation_shop import FILMS
from recipe.recipe_shop import Record, Shop

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig
from msr_local.models.spec import Cast
from msr_local.store.workspace import Workspace


@pytest.fixture(scope="session")
def asked_engine(tiny: EngineConfig) -> Iterator[EngineProcess]:
    with EngineProcess(tiny) as engine:
        yield engine


@pytest.fixture
def shop(workspace: Workspace, tmp_path: Path, tiny: EngineConfig, asked_engine: EngineProcess) -> Shop:
    """Sixty people; the even ones take the first half of the films, the odd ones the second."""
    made = Shop(workspace, tmp_path, Cast(tiny, "a" * 64, "b" * 64, "option"), asked_engine, Record())
    made.stock(*FILMS)
    rng = random.Random(5)
    for user in range(60):
        half = FILMS[:15] if user % 2 == 0 else FILMS[15:]
        made.take(f"u{user:02}", *rng.sample(half, rng.randrange(5, 9)))
    return made
