"""Captions of a workspace: what happens when the model's process dies over a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from msr_local import Recommender, Workspace, choose, ingest
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Generation, Image
from msr_local.errors import EngineCrashed
from msr_local.recipe import captions
from msr_local.store import histories

SHAPES = [(24, 24), (24, 240)]


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
        """It dies when all before the deadly picture are finished."""
        fatal = next((n for n, suffix in enumerate(suffixes) if self._kills(suffix)), len(suffixes))
        yield from super().generate_many(prefix, suffixes[:fatal], **kwargs)
        if fatal < len(suffixes):
            self._look(suffixes[fatal])
            yield from super().generate_many(prefix, suffixes[fatal:], **kwargs)

    def _look(self, suffix: Any) -> None:
        if self._kills(suffix):
            self._child._child.kill()

    def _kills(self, suffix: Any) -> bool:
        return any(getattr(part, "sha256", None) in self.deadly for part in suffix)


@pytest.mark.parametrize(("deadly", "made"), [(2, 10), (5, None)])
def test_a_deadly_picture_does_not_stop_the_others(
    workspace: Workspace, shop: tuple[Path, Path], models: Path, deadly: int, made: int | None
) -> None:
    ingest(workspace, *shop)
    hashes = [sha for (sha,) in workspace.execute("SELECT sha256 FROM images ORDER BY path")]
    Deadly.deadly, Deadly.started = frozenset(hashes[:deadly]), 0
    weights = cast(workspace, Asking(model=models / "text.gguf", projector=models / "eyes.gguf"))
    with Recommender(workspace, weights, open_engine=Deadly) as recommender:
        if made is None:
            with pytest.raises(EngineCrashed):
                recommender.captions.make()
        else:
            run = recommender.captions.make()
            assert (run.made, len(run.failed)) == (made, deadly) and Deadly.started == deadly + 2
            assert all("SIGKILL" in reason for _, reason in run.failed)


def test_a_few_deadly_pictures_between_good_ones_stop_nothing(
    workspace: Workspace, shop: tuple[Path, Path], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only crashes in a row are the engine's own: each of these comes last of those asked together."""
    monkeypatch.setattr(captions, "_TOGETHER", 3)
    ingest(workspace, *shop)
    items = list(histories.items_with_image(workspace))
    Deadly.deadly, Deadly.started = frozenset(str(item.image_sha256) for item in items[2::3]), 0
    weights = cast(workspace, Asking(model=models / "text.gguf", projector=models / "eyes.gguf"))
    with Recommender(workspace, weights, open_engine=Deadly) as recommender:
        run = recommender.captions.make()
        assert run.made == 8 and [item for item, _ in run.failed] == items[2::3]
        assert [recommender.captions.of(item) is None for item in items] == [False, False, True] * 4


@pytest.mark.parametrize("long", [[11], [0, 1, 2, 7], list(range(12))])
def test_a_picture_that_does_not_fit_the_context_fails_alone(
    workspace: Workspace, shop: tuple[Path, Path], models: Path, monkeypatch: pytest.MonkeyPatch, long: list[int]
) -> None:
    """Square pictures are cut into more tiles than narrow ones, and the context is too small for just those."""
    for n in range(12):
        Pillow.new("RGB", (24, 24 if n in long else 240), (20 * n, 90, 90)).save(shop[0].parent / f"img/{n}.png")
    ingest(workspace, *shop)
    chosen = cast(workspace, Asking(model=models / "text.gguf", projector=models / "eyes.gguf"))
    weights = replace(chosen, config=replace(chosen.config, image_detail="tiles", context=256))
    Deadly.deadly, Deadly.started = frozenset(), 0
    with Recommender(workspace, weights, open_engine=Deadly) as recommender:
        template, asker = recommender.asker.template("item_caption"), recommender.asker
        asked = [template.question(asker.facts, {}, Image(*shape, bytes(3 * 24 * shape[1]), "x")) for shape in SHAPES]
        square, narrow = (asker.engine.count_tokens([*one.prefix, *one.suffix]) for one in asked)
        monkeypatch.setattr(captions, "MAX_TOKENS", 256 - (square + narrow) // 2)
        run = recommender.captions.make()
    assert run.made == 12 - len(long) and Deadly.started == 1
    assert {item.item_id for item, _ in run.failed} == {f"i{n}" for n in long}
    assert all("does not fit the context" in reason for _, reason in run.failed)


class Wordless(Deadly):
    """A real engine that has nothing to say of chosen pictures."""

    def generate_many(self, prefix: Any, suffixes: Any, **kwargs: Any) -> Iterator[tuple[int, Generation]]:
        for place, made in EngineProcess.generate_many(self, prefix, suffixes, **kwargs):
            yield place, Generation(" \n", 1, ended=True) if self._kills(suffixes[place]) else made


def test_a_picture_of_which_the_model_says_nothing_fails(
    workspace: Workspace, shop: tuple[Path, Path], models: Path
) -> None:
    ingest(workspace, *shop)
    items = list(histories.items_with_image(workspace))
    Deadly.deadly = frozenset(str(item.image_sha256) for item in items[3:5])
    weights = cast(workspace, Asking(model=models / "text.gguf", projector=models / "eyes.gguf"))
    progress: list[tuple[str, int, int]] = []
    with Recommender(
        workspace, weights, open_engine=Wordless, progress=lambda *step: progress.append(step)
    ) as recommender:
        run = recommender.captions.make()
    assert run.made == 10 and [item for item, _ in run.failed] == items[3:5]
    assert {reason for _, reason in run.failed} == {"the model wrote nothing"}
    assert [done for _, done, _ in progress] == [*range(13), 12]
    assert {(stage, total) for stage, _, total in progress} == {("captions", 12)}
