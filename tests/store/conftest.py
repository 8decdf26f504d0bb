"""Fixtures: a workspace with three items."""

from __future__ import annotations

import pytest
from stock import (
    ITEMS,
    catalogue,
)

from msr_local.store.catalogue import add_items
from msr_local.store.workspace import Workspace


@pytest.fixture
def stocked(workspace: Workspace) -> Workspace:
    """Items a, b and c."""
    add_items(workspace, ITEMS, catalogue(("a",), ("b",), ("c",)))
    return workspace
