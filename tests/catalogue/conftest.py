"""Fixtures: files written, ingested, and what was said."""

import pytest
from kinds import STEPS

from msr_local.catalogue.ingest import ingest


@pytest.fixture
def put(tmp_path, workspace):
    """Write two files, ingest them, and return what was said; rows are asked of the workspace."""

    def call(items, steps=STEPS, *, names=("items.csv", "steps.csv"), **options):
        paths = []
        for name, content in zip(names, (items, steps), strict=True):
            path = tmp_path / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            paths.append(path)
        said = []
        call.done = ingest(workspace, *paths, tell=said.append, **options)
        return " ".join(said)

    return call


@pytest.fixture
def rows(workspace):
    return lambda sql: workspace.execute(sql).fetchall()
