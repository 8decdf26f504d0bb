"""A training run as curves: loss and validation AUC by step, in the terminal and as a picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Group, RenderableType
from rich.text import Text

from ..errors import MsrError
from ..files import written_whole
from .canvas import ASCII, Canvas, Drawing

_TALL, _LOW = 10, 5  # rows of a panel that stands alone, and of one of two
_LEAST = 8  # cells of a plot; where they are not left, the labels go
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille cell, by row and column
_ABSURD = 1e30  # a loss that has blown up so far is no number to draw
_SMOOTHED = 60  # from so many losses on, the picture shows their course as well


class Point(Protocol):
    """What is drawn of one logged step; None and NaN stand for what was not measured."""

    @property
    def step(self) -> int: ...
    @property
    def loss(self) -> float | None: ...
    @property
    def auc(self) -> float | None: ...
    @property
    def auc_low(self) -> float | None: ...
    @property
    def auc_high(self) -> float | None: ...


def curve_view(steps: Sequence[Point], width: int = 80) -> RenderableType:
    """Training loss and validation AUC (with its 95% interval) by step, at most `width` cells and 14 lines."""

    def draw(canvas: Canvas) -> RenderableType:
        room = max(1, min(width, canvas.width))
        losses = [_Mark(one.step, loss) for one in steps if (loss := _number(one.loss)) is not None]
        aucs = [
            _Mark(one.step, auc, _number(one.auc_low), _number(one.auc_high))
            for one in steps
            if (auc := _number(one.auc)) is not None
        ]
        panels = [(name, marks) for name, marks in (("loss", losses), ("validation AUC", aucs)) if marks]
        if not panels:
            return canvas.text("Nothing logged yet.", "dim", cells=room)
        return _drawn(canvas, room, panels)

    return Drawing(draw)


def curve_png(path: Path, steps: Sequence[Point]) -> None:
    """Write the same curves to `path` as a PNG; a file there is replaced at once or not at all.

    Raises `MsrError` without matplotlib, and `FileError` when the folder cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MsrError(f"{path}: drawing needs matplotlib. Next: pip install matplotlib.") from error

    loss = [(one.step, value) for one in steps if (value := _number(one.loss)) is not None]
    auc = [(one.step, value) for one in steps if (value := _number(one.auc)) is not None]
    band = [
        (one.step, low, high)
        for one in steps
        if (low := _number(one.auc_low)) is not None and (high := _number(one.auc_high)) is not None
    ]
    figure = Figure(figsize=(7.2, 5.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the environment says
    above, below = figure.subplots(2, 1, sharex=True)
    if len(loss) >= _SMOOTHED:
        above.plot(*zip(*loss, strict=True), color="#9db7d5", linewidth=0.8, label="logged")
        above.plot(*zip(*_smoothed(loss), strict=True), color="#1f4e79", linewidth=1.8, label="smoothed")
        above.legend(frameon=False)
    elif loss:
        above.plot(*zip(*loss, strict=True), color="#1f4e79", linewidth=1.8, marker="o", markersize=3)
    if band:
        at, lows, highs = zip(*band, strict=True)
        below.fill_between(at, lows, highs, color="#b45f06", alpha=0.18, linewidth=0, label="95% interval")
        if len(band) == 1:  # a band has no width here
            below.vlines(at, lows, highs, color="#b45f06", alpha=0.35, linewidth=4)
    if auc:
        below.plot(*zip(*auc, strict=True), color="#b45f06", linewidth=1.8, marker="o", markersize=4, label="AUC")
        below.axhline(0.5, color="#888888", linewidth=0.8, linestyle=(0, (4, 3)), label="chance")
        below.legend(frameon=False)
    for axes, label, empty in ((above, "Training loss", not loss), (below, "Validation AUC", not auc)):
        axes.set_ylabel(label)
        axes.grid(color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if empty:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="#888888")
            axes.set_yticks([])
    below.set_xlabel("Step")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len({one.step for one in steps}) == 1:
        below.set_xlim(steps[0].step - 1, steps[0].step + 1)
    figure.align_ylabels()
    with written_whole(path) as part:
        figure.savefig(part, format="png")


@dataclass(frozen=True, slots=True)
class _Mark:
    step: int
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> Iterator[float]:
        return (one for one in (self.low, self.value, self.high) if one is not None)


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and abs(value) < _ABSURD else None


def _drawn(canvas: Canvas, room: int, panels: list[tuple[str, list[_Mark]]]) -> Group:
    """The panels one above the other, over one axis of steps."""
    rows = _TALL if len(panels) == 1 else _LOW
    first = min(marks[0].step for _, marks in panels)
    last = max(marks[-1].step for _, marks in panels)
    means = [_means(marks, 2 * room) for _, marks in panels]
    scales = [_scale(marks) for marks in means]
    labels = [tuple(_tick(value, low, high) for value in (high, low)) for low, high in scales]
    margin = max(len(label) for pair in labels for label in pair)
    if room - margin - 2 < _LEAST:
        margin = -2
    plot = room - margin - 2
    lines: list[Text] = []
    for (name, marks), drawn, scale, ticks in zip(panels, means, scales, labels, strict=True):
        lines.append(canvas.text(_title(name, marks), "bold", cells=room))
        grid = _Grid(plot, rows, (first, last), scale)
        grid.draw(drawn)
        colour = "cyan" if name == "loss" else "yellow"
        for row, cells in enumerate(grid.lines(plain=canvas.glyphs is ASCII)):
            label = ticks[0] if row == 0 else ticks[1] if row == rows - 1 else ""
            edge = Text("" if margin < 0 else f"{label:>{margin}} {canvas.glyphs.axis}", "dim")
            lines.append(edge.append(cells, f"not dim {colour}"))
    lines += _steps_axis(canvas, margin, plot, first, last)
    return Group(*lines)


def _steps_axis(canvas: Canvas, margin: int, plot: int, first: int, last: int) -> list[Text]:
    """The rule below the plots, and its first and last step with a name between them."""
    corner = "" if margin < 0 else " " * (margin + 1) + ("+" if canvas.glyphs is ASCII else "└")
    start, end, name = f"{first:,}", f"{last:,}", "step"
    if first == last or len(start) + len(end) + 1 > plot:
        text = f"step {end}"[:plot]
    elif len(start) + len(end) + len(name) + 4 > plot:
        text = start + " " * (plot - len(start) - len(end)) + end
    else:
        text = start + name.center(plot - len(start) - len(end)) + end
    return [Text(corner + canvas.glyphs.rule * plot, "dim"), Text(" " * (margin + 2) + text, "dim")]


def _title(name: str, marks: Sequence[_Mark]) -> str:
    last = marks[-1]
    interval = f" ({last.low:.3f} to {last.high:.3f})" if last.low is not None and last.high is not None else ""
    said = f"{name} {_short(last.value)}{interval} at step {last.step:,}"
    best = max(marks, key=lambda mark: mark.value)
    if name == "loss" or best.value == last.value:
        return said
    return f"{said}, best {_short(best.value)} at {best.step:,}"


def _means(marks: Sequence[_Mark], columns: int) -> list[_Mark]:
    """At most about `columns` marks: means of neighbours, from the lowest to the highest of their intervals."""
    first, span = marks[0].step, max(marks[-1].step - marks[0].step, 1)
    found = []
    for _, group in itertools.groupby(marks, lambda mark: (mark.step - first) * columns // span):
        one = list(group)
        lows = [mark.low for mark in one if mark.low is not None]
        highs = [mark.high for mark in one if mark.high is not None]
        mean = math.fsum(mark.value / len(one) for mark in one)
        found.append(_Mark(one[len(one) // 2].step, mean, min(lows, default=None), max(highs, default=None)))
    return found


def _scale(marks: Sequence[_Mark]) -> tuple[float, float]:
    """What the axis of a panel goes from and to; never a span of nothing."""
    values = [value for mark in marks for value in mark.reach]
    low, high = min(values), max(values)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    room = 0.1 * abs(low) or 1.0
    return low - room, high + room


def _short(value: float) -> str:
    return f"{value:.3f}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.2e}"


def _tick(value: float, low: float, high: float) -> str:
    """`value` with as many decimals as tell `low` from `high`, in at most 9 characters."""
    decimals = min(5, max(2, 2 - math.floor(math.log10(high - low))))
    text = f"{value:.{decimals}f}"
    return text if len(text) <= 9 else f"{value:.1e}"


class _Grid:
    """Dots, 2 by 4 a cell, on a plane of steps and values."""

    def __init__(self, columns: int, rows: int, steps: tuple[int, int], values: tuple[float, float]) -> None:
        self._columns, self._rows = columns, rows
        self._steps, self._values = steps, values
        self._cells = [[0] * columns for _ in range(rows)]

    def draw(self, marks: Sequence[_Mark]) -> None:
        """A line through all marks, and their intervals as dotted lines."""
        spots = [(self._x(mark.step), self._y(mark.value)) for mark in marks]
        for (x, _), mark in zip(spots, marks, strict=True):
            if mark.low is not None and mark.high is not None:
                for y in range(self._y(mark.high), self._y(mark.low) + 1, 2):
                    self._dot(x, y)
        self._dot(*spots[0])
        for (x0, y0), (x1, y1) in itertools.pairwise(spots):
            length = max(abs(x1 - x0), abs(y1 - y0), 1)
            for part in range(length + 1):
                self._dot(round(x0 + (x1 - x0) * part / length), round(y0 + (y1 - y0) * part / length))

    def lines(self, *, plain: bool) -> Iterator[str]:
        """The rows of cells, in braille or, `plain`, as asterisks."""
        for cells in self._cells:
            yield "".join(" " if not cell else "*" if plain else chr(0x2800 + cell) for cell in cells)

    def _x(self, step: int) -> int:
        first, last = self._steps
        return round((step - first) / max(last - first, 1) * (2 * self._columns - 1))

    def _y(self, value: float) -> int:
        """The row of dots, from the top."""
        low, high = self._values
        return round((high - value) / (high - low) * (4 * self._rows - 1))

    def _dot(self, x: int, y: int) -> None:
        self._cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]


def _smoothed(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Means over a window that slides along: a thirtieth of the points, narrower at the ends."""
    sums = [0.0, *itertools.accumulate(value for _, value in points)]
    half = max(1, len(points) // 60)
    smooth = []
    for at, (step, _) in enumerate(points):
        reach = min(half, at, len(points) - 1 - at)
        smooth.append((step, (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1)))
    return smooth
