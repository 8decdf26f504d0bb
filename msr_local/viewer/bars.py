"""Numbers, and bars of text whose length is a number, to half a cell where the glyphs allow it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from ..recipe.views import Evidence
from .canvas import Glyphs


@dataclass(frozen=True, slots=True)
class Span:
    """How far evidence reaches to either side of nothing; one scale serves both sides."""

    against: float
    favour: float

    @classmethod
    def of(cls, evidence: Sequence[Evidence]) -> Span:
        """The span that just holds `evidence`."""
        deltas = [piece.delta_log_odds for piece in evidence if math.isfinite(piece.delta_log_odds)]
        return cls(against=max(0.0, -min(deltas, default=0.0)), favour=max(0.0, max(deltas, default=0.0)))

    @property
    def split(self) -> float:
        """Where the axis stands, from 0 (nothing speaks against) to 1 (nothing speaks in favour)."""
        return self.against / ((self.against + self.favour) or 1.0)

    def share(self, piece: Evidence) -> float:
        """How much of its side of the axis `piece` fills, negative for the left side."""
        side = self.against if piece.delta_log_odds < 0 else self.favour
        return piece.delta_log_odds / (side or 1.0)


def signed(value: float) -> str:
    """`value` with its sign and three decimals; what rounds to nothing is +0.000, never -0.000."""
    return f"{round(value, 3) + 0.0:+.3f}"


def effect(piece: Evidence) -> str:
    """The effect of a piece of evidence, with how far its 95% interval reaches: "+0.91 ±0.04"."""
    margin = "" if piece.margin is None else f" \u00b1{piece.margin:.2f}"
    return f"{round(piece.delta_log_odds, 2) + 0.0:+.2f}{margin}"


def share_bar(share: float, width: int, glyphs: Glyphs) -> Text:
    """A bar over its track, `width` cells in all, filled to `share` (0 to 1)."""
    whole, half = _halves(share, width, glyphs.half_left)
    rest = width - whole - half
    return Text.assemble((glyphs.bar * whole + glyphs.half_left * half, "cyan"), (glyphs.track * rest, "dim"))


def diverging_bar(share: float, left: int, right: int, glyphs: Glyphs) -> Text:
    """A bar from an axis that has `left` cells before it and `right` cells behind it.

    A positive `share` fills that much of the right side, in green; a negative one the left side, in red.
    """
    before, behind = Text(" " * left), Text(" " * right)
    whole, half = _halves(abs(share), left if share < 0 else right, glyphs.half_left)
    if share < 0:
        before = Text.assemble(" " * (left - whole - half), (glyphs.half_right * half + glyphs.bar * whole, "red"))
    else:
        behind = Text.assemble((glyphs.bar * whole + glyphs.half_left * half, "green"), " " * (right - whole - half))
    return Text.assemble(before, (glyphs.axis, "dim"), behind)


def _halves(share: float, width: int, half_glyph: str) -> tuple[int, int]:
    """Whole cells and half cells (0 or 1) of a bar; a share that is no number has none."""
    filled = 0.0 if math.isnan(share) else min(1.0, max(0.0, share)) * width
    if not half_glyph:
        return round(filled), 0
    return divmod(round(2 * filled), 2)
