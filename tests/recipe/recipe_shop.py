"""A small shop in a real workspace, asked through a real engine that keeps a record of every question."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.fake import FakeEngine
from msr_local.engine.types import IMAGE_MARK, Question
from msr_local.models.spec import Cast
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import Recipe
from msr_local.store import catalogue
from msr_local.store.catalogue import ImageFact
from msr_local.store.rows import InteractionRow, ItemRow
from msr_local.store.workspace import Workspace


@dataclass
class Record:
    """The questions that were asked of engines; whoever waits is interrupted after `patience` answers."""

    opened: int = 0
    asked: list[str] = field(default_factory=list)
    patience: float = float("inf")
    read: list[str] = field(default_factory=list)  # as vectors

    def note(self, question: Question) -> None:
        if len(self.asked) >= self.patience:
            raise KeyboardInterrupt
        self.asked.append(plain(question))

    def take(self) -> list[str]:
        """All questions since the last call."""
        asked, self.asked = self.asked, []
        return asked


def plain(question: Question) -> str:
    """A question as one text, its picture as the picture's hash."""
    shown = f"[{question.image.sha256}]" if question.image else ""
    own = question.own.replace(IMAGE_MARK, shown)
    return "\n".join(part for part in (question.system, question.shared, own, question.opening) if part)


class Watched(FakeEngine):
    """A real engine behind a record."""

    def __init__(self, engine: EngineProcess, record: Record, words: int = 12) -> None:
        super().__init__(engine, watch=record.note, words=words)  # so many are enough to tell two texts apart
        self.read = record.read
        record.opened += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)  # the tokens


@dataclass
class Shop:
    """A workspace, and what it takes to fill it and to ask about it."""

    workspace: Workspace
    folder: Path
    cast: Cast
    engine: EngineProcess
    record: Record

    def stock(self, *item_ids: str, pictures: bool = False) -> None:
        """Add items with the title `Film ID`."""
        rows = [
            ItemRow(line, one, f"Film {one}", {"kind": "film"}, str(self._path(one)) if pictures else None)
            for line, one in enumerate(item_ids, start=2)
        ]
        catalogue.add_items(self.workspace, self.folder / "items.csv", rows)
        if pictures:
            for shade, one in enumerate(item_ids):
                self.paint(one, 20 * shade)

    def rename(self, item_id: str, title: str) -> None:
        with self.workspace.write():
            self.workspace.execute("UPDATE items SET title = ? WHERE item_id = ?", [title, item_id])

    def paint(self, item_id: str, shade: int) -> str:
        """Give an item another picture, checked as an ingest does it; its SHA-256."""
        path = self._path(item_id)
        Pillow.new("RGB", (24, 24), (shade % 256, 255 - shade % 256, 90)).save(path)
        stat, sha256 = path.stat(), hashlib.sha256(path.read_bytes()).hexdigest()
        catalogue.add_images(self.workspace, [ImageFact(path, stat.st_size, stat.st_mtime_ns, sha256, None)])
        return sha256

    def take(self, user: str, *item_ids: str) -> None:
        """`user` takes these items, one after the other, after all that was taken before."""
        before = self.workspace.one("SELECT count(*) FROM interactions")
        rows = [
            InteractionRow(n, user, one, f"2020-01-01T00:00:00.{before + n:06}+00:00", None)
            for n, one in enumerate(item_ids)
        ]
        catalogue.add_interactions(self.workspace, self.folder / "log.csv", rows)

    def recommender(
        self, recipe: Recipe | None = None, *, sha256: str | None = None, blind: bool = False
    ) -> Recommender:
        """A recommender over the shop, by default of the full recipe; `sha256` pretends another model."""
        config, seeing = self.cast.config, None if blind else self.cast.projector_sha256
        if blind:
            config = replace(config, projector=None)
        cast = Cast(config, sha256 or self.cast.sha256, seeing, self.cast.origin, recipe=recipe or Recipe())
        return Recommender(self.workspace, cast, open_engine=lambda _: Watched(self.engine, self.record))

    def _path(self, item_id: str) -> Path:
        return self.folder / f"{item_id}.png"
