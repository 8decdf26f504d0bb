"""The items like an item, as a table: how alike, and by which of the two sources."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ..recipe.views import SimilarList
from .canvas import Canvas, Drawing
from .tables import rows_table

_WIDE = 72  # cells: with less, titles would stand in pieces beside the details
_DETAILS = ("by text", "by takers", "took both")


def similar_view(similar: SimilarList) -> RenderableType:
    """The item, and below it those that are like it."""

    def draw(canvas: Canvas) -> RenderableType:
        title = canvas.heading(canvas.text(similar.title, cells=canvas.width))
        taken = Text(f"{similar.users:,} users took it." if similar.users else "Nobody has taken it yet.")
        if not similar.items:
            return Group(title, taken, "", Text("Nothing is like it.", style="dim"))
        rows = [
            {
                "#": one.rank,
                "item_id": one.item_id,
                "title": one.title,
                "similarity": f"{one.similarity:.3f}",
                "by text": f"{one.shares['text']:.0%}",
                "by takers": f"{one.shares['item_knn']:.0%}",
                "took both": f"{one.both:,}",
            }
            for one in similar.items
        ]
        if canvas.width < _WIDE:
            rows = [{name: cell for name, cell in row.items() if name not in _DETAILS} for row in rows]
        numbers = ("#", "similarity", *_DETAILS)
        return Group(title, taken, "", rows_table(rows, right=numbers))

    return Drawing(draw)
