"""Engines here have several threads, also where tests run side by side."""

from __future__ import annotations

from collections.abc import Iterator

import cores
import pytest


@pytest.fixture(autouse=True, scope="module")
def _all_cores() -> Iterator[None]:
    cores.take_all()
    yield
    cores.take_one()
