"""Captions of a workspace: what happens when the model's process dies over a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as Pillow

from msr_local import Asking, Recommender, Workspace, cast, ingest
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import Generation, Image, ModelFacts, Question, Writing
from msr_local.prompts import PromptTemplate
from msr_local.recipe import captions
from msr_local.store import histories

SHAPES = [(24, 24), (24, 240)]


class Deadly(EngineProcess):
    """A real engine whose process is killed over chosen pictures, as a native abort would."""

    deadly: frozenset[str] = frozenset()
    started = 0

    def _start(self) -> ModelFacts:
        Deadly.started += 1
        return super()._start()

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        """It dies when all before the deadly picture are finished."""
        fatal = next((n for n, question in enumerate(questions) if self._kills(question)), len(questions))
        yield from super().write(questions[:fatal], how)
        if fatal < len(questions):
            self._alive()._child.kill()
            yield from super().write(questions[fatal:], how)

    def _kills(self, question: Question) -> bool:
        return question.image is not None and question.image.sha256 in self.deadly


@pytest.mark.parametrize(("deadly", "made"), [(2, 10), (5, 7)])
def test_a_deadly_picture_does_not_stop_the_others(
    workspace: Workspace, shop: tuple[Path, Path], models: Path, deadly: int, made: int
) -> None:
    ingest(workspace, *shop)
    hashes = [sha for (sha,) in workspace.execute("SELECT sha256 FROM images ORDER BY path")]
    Deadly.deadly, Deadly.started = frozenset(hashes[:deadly]), 0
    weights = cast(workspace, Asking(model=models / "text.gguf", projector=models / "eyes.gguf"))
    with Recommender(workspace, weights, open_engine=Deadly) as recommender:
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
        template = PromptTemplate("item_caption")
        asked = [template.question({}, Image(*shape, bytes(3 * 24 * shape[1]), "x")) for shape in SHAPES]
        read = (recommender.tokens.rendered(one) for one in asked)
        square, narrow = (len(recommender.tokens.token_ids([*one.prefix, *one.suffix])) for one in read)
    monkeypatch.setattr(captions, "MAX_TOKENS", 256 - (square + narrow) // 2)
    with Recommender(workspace, weights, open_engine=Deadly) as recommender:
        Deadly.started = 0
        run = recommender.captions.make()
    assert run.made == 12 - len(long) and Deadly.started == 1
    assert {item.item_id for item, _ in run.failed} == {f"i{n}" for n in long}
    assert all("does not fit the context" in reason for _, reason in run.failed)


class Wordless(Deadly):
    """A real engine that has nothing to say of chosen pictures."""

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        for place, made in EngineProcess.write(self, questions, how):
            yield place, Generation(" \n", 1, ended=True) if self._kills(questions[place]) else made


def test_a_picture_of_which_the_model_says_nothing_fails(
    workspace: Workspace, shop: tuple[Path, Path], models: Path
) -> None:
    ingest(workspace, *shop)
    items = list(histories.items_with_image(workspace))
    Deadly.deadly = frozenset(str(item.image_sha256) for item in items[3:5])
    weights = cast(workspace, Asking(model=models / "text.gguf", projector=models / "eyes.gguf"))
    progress: list[tuple[str, int, int]] = []
    with Recommender(
        workspace,
        weights,
        open_engine=Wordless,
        progress=lambda *step: progress.append(step),  # type: ignore[arg-type]
    ) as recommender:
        run = recommender.captions.make()
    assert run.made == 10 and [item for item, _ in run.failed] == items[3:5]
    assert {reason for _, reason in run.failed} == {"the model wrote nothing"}
    assert [done for _, done, _ in progress] == [*range(13), 12]
    assert {(stage, total) for stage, _, total in progress} == {("captions", 12)}
