"""Items alike: by what can be read of them, and by who took them.

Both are cosines, each scaled to [0, 1] over the whole catalogue, so that the best by either stands near the top. Who
took an item says the less the fewer did: with as many as `_HALF` takers it counts half as much as what is read, with
many as much, and nothing is known of an item that is new but what is read.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from ..arrays import Mask, Vector, best
from .candidates import Recall

_HALF = 5.0  # takers


@dataclass(frozen=True, slots=True)
class Alike:
    """An item that is like another; `shares` says how much of `similarity` (0..1) each source gave, and sums to 1."""

    item_id: str
    similarity: float
    shares: dict[str, float]  # "text": title, attributes and caption; "item_knn": who took it
    both: int  # users who took both


def alike(recall: Recall, item_id: str, count: int, only: Set[str] | None = None) -> list[Alike]:
    """The `count` items most like this one, of all items or `only` of these ids, the most alike first.

    Items that have nothing in common with it are left out. Raises `KeyError` for an item that recall does not know.
    """
    item = recall.index[item_id]
    sources = recall.alike(item_id)
    taken = float(recall.count[item])
    weights = {"text": 1.0, "item_knn": taken / (taken + _HALF)}
    free: Mask = np.array([only is None or one in only for one in recall.item_ids], bool)
    free[item] = False
    tops = {name: float(values[np.arange(len(free)) != item].max(initial=0.0)) for name, values in sources.items()}
    total = sum(weights[name] for name, top in tops.items() if top > 0)
    parts: dict[str, Vector] = {
        name: weights[name] / total * values / tops[name] if tops[name] > 0 else np.zeros(len(free))
        for name, values in sources.items()
    }
    similarity = sum(parts.values(), np.zeros(len(free)))
    found = best(similarity, np.flatnonzero(free & (similarity > 0)), count)
    both = np.asarray((recall.tables.by_item[:, [item]].T @ recall.tables.by_item[:, found]).todense()).ravel()
    return [
        Alike(
            recall.item_ids[place],
            float(similarity[place]),
            {name: float(part[place] / similarity[place]) for name, part in parts.items()},
            int(users),
        )
        for place, users in zip(found, both, strict=True)
    ]
