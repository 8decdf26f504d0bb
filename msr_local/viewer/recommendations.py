"""The ranked list, as one aligned table that gives up columns before it gives up legibility."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from ..recipe.views import Recommendation, RecommendationList
from .bars import share_bar
from .canvas import Canvas, Drawing

_GAP = 2
_BAR = 10
_SHORTEST_TITLE = len("title")
_LEAST_TITLE = 26  # a longer title is cut rather than shown in less than this
_SOURCES = 40
_SHORT_SOURCE = {"item_knn": "knn", "popularity": "popular"}


def recommendations_view(recommendations: RecommendationList) -> RenderableType:
    """The user's taste in words, then the table of ranked items."""

    def draw(canvas: Canvas) -> RenderableType:
        whom = "Somebody who is in no file" if recommendations.user is None else recommendations.user
        parts = [canvas.heading(canvas.text(whom, cells=canvas.width))]
        if recommendations.summary:
            parts.append(canvas.text(recommendations.summary))
        return Group(*parts, "", recommendations_table(recommendations.items, canvas))

    return Drawing(draw)


def recommendations_table(items: Sequence[Recommendation], canvas: Canvas, chosen: str | None = None) -> RenderableType:
    """The table itself; the row of the item `chosen` is marked."""
    if not items:
        return Text("Nothing to recommend.", style="dim")
    columns = _columns(items, canvas, chosen)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        # Cells are cut to size already; Rich's own ellipsis is not ASCII.
        table.add_column(column.header, justify=column.justify, width=column.width, no_wrap=True, overflow="crop")
    for item, row in zip(items, zip(*(column.cells for column in columns), strict=True), strict=True):
        table.add_row(*row, style="bold" if item.item_id == chosen else "")
    return table


@dataclass(frozen=True, slots=True)
class _Column:
    header: str
    cells: Sequence[Text]
    justify: JustifyMethod

    @property
    def width(self) -> int:
        return max(len(self.header), *(cell.cell_len for cell in self.cells))


def _columns(items: Sequence[Recommendation], canvas: Canvas, chosen: str | None) -> list[_Column]:
    """The columns that fit, the title with the room that they leave."""

    def column(header: str, cell: Callable[[Recommendation], Text], justify: JustifyMethod) -> _Column:
        return _Column(header, [cell(item) for item in items], justify)

    def rank(item: Recommendation) -> Text:
        mark = f"{canvas.glyphs.pointer} " if item.item_id == chosen else ""
        return Text(f"{mark}{item.rank}", "dim")

    def barred(item: Recommendation) -> Text:
        return share_bar(item.probability or 0.0, _BAR, canvas.glyphs).append(" ").append_text(bare(item))

    def bare(item: Recommendation) -> Text:
        return Text(f"{item.probability:.3f}")

    ranks = column("#", rank, "right")
    # What the list is ordered by: a probability where the score was calibrated.
    if all(item.probability is not None for item in items):
        ordered = column("probability", barred, "left"), column("probability", bare, "right")
    else:
        ordered = (column("score", lambda item: Text(f"{item.score:.3f}"), "right"),) * 2
    p_yes = column("p(yes)", lambda item: Text(f"{item.p_yes:.3f}"), "right")
    two_sources = column("found by", lambda item: _sources(item.shares, canvas, most=2), "left")
    one_source = column("found by", lambda item: _sources(item.shares, canvas, most=1), "left")

    longest = max(_SHORTEST_TITLE, *(canvas.text(item.title).cell_len for item in items))
    room = 0
    for rest in (
        [ordered[0], p_yes, two_sources],
        [ordered[0], p_yes, one_source],
        [ordered[0], p_yes],
        [ordered[1], p_yes],
        [ordered[1]],
    ):
        room = canvas.width - sum(taken.width + _GAP for taken in (ranks, *rest))
        if room >= min(longest, _LEAST_TITLE):
            break
    room = max(1, min(room, longest))
    return [ranks, column("title", lambda item: canvas.text(item.title, cells=room), "left"), *rest]


def _sources(shares: Mapping[str, float], canvas: Canvas, most: int) -> Text:
    """The recall sources that brought most of an item in, as "markov 54% · knn 30%"."""
    ranked = sorted(shares.items(), key=lambda source: -source[1])[:most]
    named = (f"{_SHORT_SOURCE.get(name, name)} {share:.0%}" for name, share in ranked if share > 0)
    return canvas.text(canvas.glyphs.between.join(named), "dim", cells=_SOURCES)
