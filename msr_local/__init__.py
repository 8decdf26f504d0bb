"""msr-local: a recommender that looks at the pictures, reads the history and explains itself, locally."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "RECIPES",
    "Asking",
    "Cast",
    "MsrError",
    "Recipe",
    "Recommender",
    "Workspace",
    "cast",
    "explain",
    "ingest",
    "similar",
]

if TYPE_CHECKING:
    from .catalogue.ingest import ingest
    from .errors import MsrError
    from .models.asking import Asking
    from .models.choice import cast
    from .models.spec import Cast
    from .recipe.explanations import explain
    from .recipe.recommender import Recommender
    from .recipe.similar import similar
    from .recipes import RECIPES, Recipe
    from .store.workspace import Workspace

_HOMES = {
    "RECIPES": "recipes",
    "Asking": "models.asking",
    "Cast": "models.spec",
    "MsrError": "errors",
    "Recipe": "recipes",
    "Recommender": "recipe.recommender",
    "Workspace": "store.workspace",
    "cast": "models.choice",
    "explain": "recipe.explanations",
    "ingest": "catalogue.ingest",
    "similar": "recipe.similar",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `msr-local --help` must not wait for numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'msr_local' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
