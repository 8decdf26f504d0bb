"""Fixtures: the shop of the recipe's tests, for what recall does inside a recommendation."""

from __future__ import annotations

from recipe.conftest import recipe_shop, running

__all__ = ["recipe_shop", "running"]
