"""Captions of a workspace: what happens when the model's process dies over a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msr_local import Recommender, Workspace, choose, ingest
from msr_local.engine.process import EngineProcess
from msr_local.engine.types import EngineConfig, Generation
from msr_local.errors import EngineCrashed


class Deadly(EngineProcess):
    """A real engine whose process is killed over chosen pictures, as a native abort would."""

    deadly: frozenset[str] = frozenset()
    started = 0

    def __init__(self, config: EngineConfig) -> None:
        Deadly.started += 1
        super().__init__(config)

    def generate(self, prefix: Any, suffix: Any, **kwargs: Any) -> Generation:
        self._look(suffix)
        return super().generate(prefix, suffix, **kwargs)

    def generate_many(self, prefix: Any, suffixes: Any, **kwargs: Any) -> Iterator[tuple[int, Generation]]:
        for suffix in suffixes:
            self._look(suffix)
        return super().generate_many(prefix, suffixes, **kwargs)

    def _look(self, suffix: Any) -> None:
        if any(getattr(part, "sha256", None) in self.deadly for part in suffix):
            self._child._child.kill()


@pytest.mark.parametrize(("deadly", "made"), [(2, 10), (5, None)])
def test_a_deadly_picture_does_not_stop_the_others(
    workspace: Workspace, shop: tuple[Path, Path], models: Path, deadly: int, made: int | None
) -> None:
    ingest(workspace, *shop)
    hashes = [sha for (sha,) in workspace.execute("SELECT sha256 FROM images ORDER BY path")]
    Deadly.deadly, Deadly.started = frozenset(hashes[:deadly]), 0
    weights = choose(workspace, models / "text.gguf", models / "eyes.gguf")
    with Recommender(workspace, weights, open_engine=Deadly) as recommender:
        if made is None:
            with pytest.raises(EngineCrashed):
                recommender.captions.make()
        else:
            run = recommender.captions.make()
            assert (run.made, len(run.failed)) == (made, deadly) and Deadly.started == deadly + 2
            assert all("SIGKILL" in reason for _, reason in run.failed)
