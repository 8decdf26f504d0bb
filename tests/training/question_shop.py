"""A small world for training questions: who took which film when, asked through a real engine behind a record."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recipe.recipe_shop import Record, Watched

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig
from msr_local.models.spec import Cast
from msr_local.progress import Progress, silent
from msr_local.recipe.recommender import Recommender
from msr_local.recipes import Recipe
from msr_local.store import catalogue
from msr_local.store.rows import InteractionRow, ItemRow
from msr_local.store.workspace import Workspace
from msr_local.training.questions import Questions, questions
from msr_local.training.rows import Row
from msr_local.training.settings import Settings

Step = tuple[str, str, "float | None"]  # user, film, seconds since 1970
FILMS = [f"f{n:02}" for n in range(24)]
VALIDATION, TEST = 800, 900  # seconds at which `WORLD` is cut
FULL = Recipe()
FEW = Settings(rows=36, validation_rows=16)


def world(seed: int = 0) -> list[Step]:
    """A hundred steps, ten seconds apart, of eight people; each takes a film once and likes one half of them more."""
    rng = random.Random(seed)
    left = {f"u{n}": rng.sample(FILMS[:12], 9) + rng.sample(FILMS[12:], 6) for n in range(8)}
    for films in left.values():
        rng.shuffle(films)
    return [(f"u{n % 8}", left[f"u{n % 8}"].pop(), 10.0 * n) for n in range(100)]


WORLD = world()


def titled(films: Iterable[str] = FILMS) -> list[ItemRow]:
    kinds = ["drama", "comedy", "noir"]
    return [
        ItemRow(line, one, f"Film {one}", {"kind": kinds[line % 3]}, None) for line, one in enumerate(films, start=2)
    ]


def iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat()


@dataclass
class World:
    """A workspace of such steps, and what it takes to ask about it."""

    workspace: Workspace
    engine: EngineProcess
    config: EngineConfig
    record: Record = field(default_factory=Record)
    sees: bool = False

    def stock(self, items: Iterable[ItemRow]) -> None:
        catalogue.add_items(self.workspace, Path("items.csv"), items)

    def take(self, steps: Iterable[Step]) -> None:
        rows = [InteractionRow(n, user, film, iso(when), None) for n, (user, film, when) in enumerate(steps, start=2)]
        added = catalogue.add_interactions(self.workspace, Path("log.csv"), rows)
        assert added.rejected == 0

    def recommender(self, recipe: Recipe, progress: Progress = silent, sha256: str = "a" * 64) -> Recommender:
        cast = Cast(self.config, sha256, "b" * 64 if self.sees else None, "option", recipe=recipe)

        def terse(_: EngineConfig) -> Watched:  # a set has many summaries
            return Watched(self.engine, self.record, words=4)

        return Recommender(self.workspace, cast, progress=progress, open_engine=terse)

    def ask(self, settings: Settings = FEW, *, recipe: Recipe = FULL, **options: Any) -> Questions:
        """The sets as a new process would make them."""
        with self.recommender(recipe, **options) as recommender:
            return questions(recommender, settings)


def data(made: Questions, name: str) -> bytes:
    """A set as it is kept."""
    return (made.folder / f"{name}.jsonl").read_bytes()


def both(made: Questions) -> list[Row]:
    return [*made.train, *made.validation]


def films_of(user: str, steps: Iterable[Step] = WORLD, before: float = float("inf")) -> list[str]:
    return [film for one, film, when in steps if one == user and (when is None or when < before)]


def stop_at(stage: str, number: int) -> Callable[[str, int, int], None]:
    def progress(name: str, done: int, total: int) -> None:
        if (name, done) == (stage, number):
            raise KeyboardInterrupt

    return progress
