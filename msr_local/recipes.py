"""Which evidence goes into the scoring question, and how the history is summarised."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe's name and settings. `window` and `recent` count interactions, newest last."""

    name: str = "full"
    summary: bool = True
    recent: int = 10  # titles of the latest interactions shown beside the summary
    caption: bool = True
    image: bool = True
    hint: bool = True  # collaborative evidence in words
    block_size: int = 3  # the paper's best
    window: int = 30  # interactions that the summary looks back on
    direct: bool = False  # one summary over the whole window: the paper's ablation without recurrence

    def with_history(self, block_size: int | None, window: int | None, direct: bool) -> Recipe:
        """This recipe with another way of summarising; None leaves a setting as it is."""
        return replace(self, block_size=block_size or self.block_size, window=window or self.window, direct=direct)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Recipe:
        """The recipe that `to_json` wrote; settings that this release does not know are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(),
        Recipe("paper", recent=0, hint=False),  # summary and picture alone, as published
        Recipe("no-image", caption=False, image=False),
        Recipe("history", summary=False),
    )
}
