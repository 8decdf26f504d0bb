"""Kept results that nothing can use as the workspace is set now: other models, prompts, recipes and texts made them.

What is used is found by opening the recommender as each command could: with every adapter that is there and without,
by every recipe. A result that was removed by mistake is made again when it is asked for; it is never a wrong one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..engine.llama.prefixes import states
from ..errors import MsrError
from ..models import choice, registry
from ..models.asking import Asking
from ..models.spec import Cast
from ..recipes import RECIPES
from ..store import prune as tables
from ..store.prune import Pruned
from ..store.workspace import Workspace
from .kept import key_of, pictures_of, state_of
from .recommender import Recommender


@dataclass(slots=True)
class _Used:
    """What the results that can be used say of themselves, by table; the folders of states; and for lists the states
    of the workspace. `texts` are those whose vectors have been counted."""

    settings: dict[str, set[str | int]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    states: set[tuple[Any, ...]] = field(default_factory=set)
    texts: set[tuple[str, str]] = field(default_factory=set)

    def add(self, table: str, *settings: str | int) -> None:
        self.settings.setdefault(table, set()).update(settings)


def clean(workspace: Workspace, *, dry_run: bool = False) -> list[Pruned]:
    """Remove what nothing can use; with `dry_run`, only say what that is.

    Raises `ModelError` where the workspace's own model is not there: then nobody knows what it could use.
    """
    if not dry_run:
        workspace.require_writable()
    used = _Used()
    for cast in _casts(workspace):
        with Recommender(workspace, cast) as recommender:
            _note(used, recommender)
    used.add("lists")
    for number, user, settings, key in tables.lists(workspace):
        if any(key == key_of(workspace, settings, state, user) for state in used.states):
            used.add("lists", number)
    found = tables.prune(workspace, used.settings, dry_run=dry_run)
    return [*found, _clean_states(workspace.home / "prefixes", used.folders, dry_run=dry_run)]


def _casts(workspace: Workspace) -> Iterator[Cast]:
    """As the workspace answers now; then with each adapter that is there and with none. Each by all recipes."""
    plain = choice.cast(workspace)
    names = [manifest.name for manifest, problem in registry.list_adapters(workspace) if problem is None]
    if ours := choice.shipped_recommender(workspace):
        names.append(ours.manifest.name)
    casts = [plain]
    for name in (registry.NONE, *names):
        with contextlib.suppress(MsrError):  # one that does not fit the model cannot use anything
            casts.append(choice.cast(workspace, Asking(adapter=name)))
    for cast in casts:
        yield cast
        for recipe in RECIPES.values():
            yield replace(cast, recipe=recipe)


def _note(used: _Used, recommender: Recommender) -> None:
    cast, workspace = recommender.cast, recommender.workspace
    used.add("captions", recommender.captions.settings)
    for table in ("preferences", "past_summaries"):
        used.add(table, recommender.preferences.settings)
    for table in ("scores", "answers"):
        used.add(table, recommender.judge.settings)
    texts = recommender.vectors.settings, recommender.captions.settings if recommender.recipe.caption else ""
    if texts not in used.texts:
        used.texts.add(texts)
        used.add("vectors", *recommender.vectors.keys(recommender.recall.texts()))
    for role in (cast.summariser, cast.judge):
        used.folders.add(cast.weights_id(role)[:16])
    used.states.add(state_of(recommender, pictures_of(workspace, cast)))


def _clean_states(folder: Path, used: set[str], *, dry_run: bool) -> Pruned:
    there = [place for place in folder.iterdir() if place.is_dir()] if folder.is_dir() else []
    kept = sum(1 for place in there if place.name in used for _ in states(place))
    unused = [path for place in there if place.name not in used for path in states(place)]
    size = sum(path.stat().st_size for path in unused)
    for path in () if dry_run else unused:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else is in it
            path.parent.rmdir()
    return Pruned("states of prompts", len(unused), size, kept)
