"""Taste over time, what is recommended now, and the measured reasons for one item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..recipe.views import Evidence, Explanation
from .bars import Span, diverging_bar, effect, signed
from .canvas import Canvas, Drawing
from .pixels import half_blocks
from .recommendations import recommendations_table
from .timeline import timeline

_TWO_COLUMNS = 130  # below this width the sections stand under each other
_GUTTER = 4
_PICTURE = 24
_CHART = 48
_LEAST_BAR = 12  # under this, bars are worth more room than words
_SHARED = 24  # cells of the words that a part and the item have in common
_GAP = 2
_PASSAGE = 400  # cells of a description or a caption, which may be of any length


def explanation_view(explanation: Explanation) -> RenderableType:
    """The whole explanation: one column on a narrow console, two on a wide one."""

    def draw(canvas: Canvas) -> RenderableType:
        if canvas.width < _TWO_COLUMNS:
            return Group(*timeline(explanation, canvas), "", *_now(explanation, canvas))
        left = canvas.narrowed((canvas.width - _GUTTER) * 2 // 5)
        right = canvas.narrowed(canvas.width - _GUTTER - left.width)
        sides = Table.grid(padding=(0, _GUTTER, 0, 0))
        sides.add_column(width=left.width, overflow="fold")
        sides.add_column(width=right.width, overflow="fold")
        sides.add_row(Group(*timeline(explanation, left)), Group(*_now(explanation, right)))
        return sides

    return Drawing(draw)


def _now(explanation: Explanation, canvas: Canvas) -> Iterator[RenderableType]:
    yield canvas.heading(Text("Recommended now"))
    yield recommendations_table(explanation.recommendations, canvas, chosen=explanation.item_id)
    yield ""
    yield from _item(explanation, canvas)


def _item(explanation: Explanation, canvas: Canvas) -> Iterator[RenderableType]:
    title = canvas.text(explanation.title or explanation.item_id, cells=canvas.width - 5)
    yield canvas.heading(Text("Why ").append_text(title).append("?"))
    about = list(_about(explanation, canvas))
    if explanation.image and canvas.paints and canvas.width >= 2 * _PICTURE:
        side_by_side = Table.grid(padding=(0, _GAP, 0, 0))
        side_by_side.add_column(no_wrap=True)
        side_by_side.add_column(overflow="fold")
        side_by_side.add_row(half_blocks(explanation.image, _PICTURE), Group(*about))
        yield side_by_side
    else:
        yield from about
    yield ""
    if explanation.evidence:
        yield from _evidence(explanation, canvas)
    else:
        yield Text("No evidence was measured for this item.", style="dim")
    if explanation.notes:
        yield ""
    for note in explanation.notes:
        yield canvas.text(f"Note: {note}", "dim")


def _about(explanation: Explanation, canvas: Canvas) -> Iterator[RenderableType]:
    """What the item is, and how sure the model is of it."""
    for line in explanation.description_lines:
        yield canvas.text(line, cells=_PASSAGE)
    if explanation.caption:
        caption = canvas.text(explanation.caption, cells=_PASSAGE)
        yield Text.assemble(("Seen in the picture: ", "dim"), caption)
    yield ""
    sure = Text()
    if explanation.probability is not None:
        sure.append("probability ", "dim").append(f"{explanation.probability:.3f}", "bold").append("  ")
    sure.append("p(yes) ", "dim").append(f"{explanation.p_yes:.3f}").append("  log-odds ", "dim")
    yield sure.append(signed(explanation.log_odds))


def _evidence(explanation: Explanation, canvas: Canvas) -> Iterator[RenderableType]:
    """What speaks for and against the item as bars, then by name what cannot be told from nothing."""
    if clear := explanation.clear_evidence:
        yield _chart(clear, canvas)
    else:
        yield Text("No part of the question speaks clearly for or against this item.")
    if unclear := explanation.unclear_evidence:
        names = Text("No clear effect: ", "dim")
        for number, piece in enumerate(unclear):
            names.append(canvas.glyphs.between if number else "")
            names.append_text(canvas.text(piece.label or piece.kind, cells=canvas.width * 2 // 5))
        yield names
    yield ""
    yield canvas.text(explanation.evidence_meaning, "dim")


def _chart(evidence: Sequence[Evidence], canvas: Canvas) -> RenderableType:
    """One row a piece of evidence: label, bar, number and common words, all bars to one scale."""
    labels = [canvas.text(piece.label or piece.kind, cells=canvas.width * 2 // 5) for piece in evidence]
    numbers = [canvas.text(effect(piece)) for piece in evidence]
    shared = [canvas.text(", ".join(piece.shared), "dim", cells=_SHARED) for piece in evidence]
    taken = max(label.cell_len for label in labels) + max(number.cell_len for number in numbers) + 2 * _GAP + 1
    words = max(word.cell_len for word in shared)
    if words and canvas.width - taken - words - _GAP >= _LEAST_BAR:
        taken += words + _GAP
    else:
        words = 0
    room = max(2, min(_CHART, canvas.width - taken))
    span = Span.of(evidence)
    left = round(room * span.split)
    chart = Table.grid(padding=(0, _GAP, 0, 0))
    for justify in ("left", "left", "right", *(("left",) if words else ())):
        chart.add_column(no_wrap=True, overflow="crop", justify=justify)
    for piece, label, number, word in zip(evidence, labels, numbers, shared, strict=True):
        bar = diverging_bar(span.share(piece), left, room - left, canvas.glyphs)
        chart.add_row(label, bar, number, *((word,) if words else ()))
    return chart
