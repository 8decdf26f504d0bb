"""A user's history as blocks on a line of time, and how the summary of their taste moved with it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from ..recipe.views import Explanation, TimelineBlock
from .canvas import Canvas

_MOST_BLOCKS = 12
_MOST_WORDS = 8
_WORD = 24  # cells; whatever is longer is hardly a word
_ISO_DAY = re.compile(r"\d{4}-\d\d-\d\d(?=$|[T ])")


def timeline(explanation: Explanation, canvas: Canvas) -> Iterator[RenderableType]:
    """A heading, then the latest blocks, oldest first."""
    name = canvas.text(explanation.user, cells=canvas.width // 2)
    yield canvas.heading(name.append(" over time"))
    if explanation.no_timeline:
        yield Text(explanation.no_timeline, style="dim")
    blocks = explanation.timeline[-_MOST_BLOCKS:]
    if earlier := len(explanation.timeline) - len(blocks):
        left_out = "1 earlier block is" if earlier == 1 else f"{earlier} earlier blocks are"
        yield Text(f"{left_out} left out here; --json has them all.", style="dim")
    before = None
    for block in blocks:
        yield _OnRail(_block(block, before, canvas), canvas, last=block is blocks[-1])
        before = block.summary


def day_range(block: TimelineBlock, to: str) -> str:
    """The days of a block, "2024-03-01 → 2024-03-09"; what is no ISO timestamp stays as it is."""
    moments = filter(None, (block.start, block.end))
    days = (moment[:10] if _ISO_DAY.match(moment) else moment for moment in moments)
    return to.join(dict.fromkeys(days))


def _block(block: TimelineBlock, before: str | None, canvas: Canvas) -> RenderableType:
    """The days, the titles, the summary after them, and the words that came and went."""
    when = day_range(block, canvas.glyphs.to) or f"block {block.block}"
    lines = [canvas.text(when, "bold", cells=canvas.width - 2)]
    titles = Text()
    for number, item in enumerate(block.items):
        titles.append(canvas.glyphs.between if number else "", "dim")
        titles.append_text(canvas.text(item["title"], cells=canvas.width - 2))
    lines.append(titles)
    if block.summary and block.summary == before:
        lines.append(Text("The summary stayed as it was.", "dim"))
    elif block.summary:
        lines.append(canvas.text(block.summary, "italic"))
    changes = [
        canvas.text(f"{sign}{word}", style, cells=_WORD)
        for sign, words, style in (("+", block.added, "green"), ("-", block.dropped, "dim red"))
        for word in words[:_MOST_WORDS]
    ]
    if changes:
        lines.append(Text(" ").join(changes))
    return Group(*lines)


class _OnRail:
    """A block hung on the line of time: a dot beside its first line, a rail beside the others."""

    def __init__(self, body: RenderableType, canvas: Canvas, last: bool) -> None:
        self._body = body
        self._canvas = canvas
        self._last = last

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        glyphs = self._canvas.glyphs
        inner = options.update(width=max(1, self._canvas.width - 2))
        mark = Segment(f"{glyphs.dot} ", Style(color="cyan"))
        rail = Segment(f"{glyphs.rail} ", Style(dim=True))
        for line in console.render_lines(self._body, inner, pad=False):
            yield mark
            yield from line
            yield Segment.line()
            mark = rail
        if not self._last:
            yield rail
            yield Segment.line()
