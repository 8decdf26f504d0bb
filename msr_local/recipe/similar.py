"""Items like an item: what `similar` answers. No model is asked."""

from __future__ import annotations

from collections.abc import Set

from ..recall.similar import alike
from ..store import histories
from . import views
from .recommender import Recommender


def similar(recommender: Recommender, item_id: str, k: int = 10, *, only: Set[str] | None = None) -> views.SimilarList:
    """The `k` items most like this one, of all items or `only` of these ids. Raises `NotFoundError`."""
    workspace = recommender.workspace
    item, recall = histories.existing_item(workspace, item_id), recommender.recall.by_hand()
    found = alike(recall, item_id, k, only)
    titles = {one.item_id: one.title for one in histories.items(workspace, [one.item_id for one in found])}
    return views.SimilarList(
        item_id,
        item.title,
        int(recall.count[recall.index[item_id]]),
        [
            views.SimilarItem(rank, one.item_id, titles[one.item_id], one.similarity, one.shares, one.both)
            for rank, one in enumerate(found, start=1)
        ],
    )
