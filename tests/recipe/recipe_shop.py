"""A small shop in a real workspace, asked through a real engine that keeps a record of every question."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import Generation, Image, LogOdds, ModelFacts, Prompt
from msr_local.models.choice import Weights
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import Recipe
from msr_local.store import catalogue
from msr_local.store.catalogue import ImageFact
from msr_local.store.rows import InteractionRow, ItemRow
from msr_local.store.workspace import Workspace


@dataclass
class Record:
    """The questions that were asked of an engine; it is interrupted after `patience` answers."""

    opened: int = 0
    asked: list[str] = field(default_factory=list)
    patience: float = float("inf")
    read: list[str] = field(default_factory=list)  # as vectors

    def note(self, prompt: Prompt) -> None:
        if len(self.asked) >= self.patience:
            raise KeyboardInterrupt
        self.asked.append("".join(f"[{p.sha256}]" if isinstance(p, Image) else p.text for p in prompt))

    def take(self) -> list[str]:
        """All questions since the last call."""
        asked, self.asked = self.asked, []
        return asked


class Watched:
    """A real engine behind a record; closing it leaves the real one open."""

    def __init__(self, engine: EngineProcess, record: Record) -> None:
        self._engine, self._record = engine, record
        record.opened += 1

    @property
    def facts(self) -> ModelFacts:
        return self._engine.facts

    def count_tokens(self, prompt: Prompt) -> int:
        return self._engine.count_tokens(prompt)

    def token_ids(self, prompt: Prompt) -> list[int]:
        return self._engine.token_ids(prompt)

    def log_odds(self, prefix: Prompt, suffixes: Sequence[Prompt], *, adapter: str | None = None) -> Iterator[LogOdds]:
        answers = self._engine.log_odds(prefix, suffixes, adapter=adapter)
        for suffix in suffixes:
            self._record.note([*prefix, *suffix])
            yield next(answers)

    def generate(self, prefix: Prompt, suffix: Prompt, **options: Any) -> Generation:
        self._record.note([*prefix, *suffix])
        return self._engine.generate(prefix, suffix, **{**options, "max_tokens": 12})  # enough to tell two apart

    def generate_many(
        self, prefix: Prompt, suffixes: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        for place, made in self._engine.generate_many(prefix, suffixes, **{**options, "max_tokens": 12}):
            self._record.note([*prefix, *suffixes[place]])
            yield place, made

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Any]]:
        self._record.read += texts
        return self._engine.vectors(texts)

    def close(self) -> None:
        pass


@dataclass
class Shop:
    """A workspace, and what it takes to fill it and to ask about it."""

    workspace: Workspace
    folder: Path
    weights: Weights
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
        config, seeing = self.weights.config, None if blind else self.weights.projector_sha256
        if blind:
            config = replace(config, projector=None)
        weights = Weights(config, sha256 or self.weights.sha256, seeing, self.weights.origin)
        return Recommender(
            self.workspace, weights, recipe or Recipe(), open_engine=lambda _: Watched(self.engine, self.record)
        )

    def _path(self, item_id: str) -> Path:
        return self.folder / f"{item_id}.png"
