"""A training run as curves: loss and validation AUC by step, in the terminal and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from ..arrays import Vector
from ..errors import MsrError
from ..files import written_whole
from .canvas import ASCII, Canvas, Drawing

_ROWS = 4  # of each curve
_MARGIN = 11  # cells before a curve: a label of 9, a blank, the axis
_BLOCKS, _ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:|"
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


def curve_view(steps: Sequence[Point]) -> RenderableType:
    """Training loss and validation AUC by step, each under its last value, in at most 80 cells and 11 lines."""

    def draw(canvas: Canvas) -> RenderableType:
        room = min(80, canvas.width)
        lines: list[Text] = []
        for name, field, colour in (("loss", "loss", "cyan"), ("validation AUC", "auc", "yellow")):
            if points := _measured(steps, field):
                lines.append(canvas.text(_title(name, points, steps), "bold", cells=room))
                lines += _area(canvas, points, (steps[0].step, steps[-1].step), max(1, room - _MARGIN), colour)
        if not lines:
            return canvas.text("Nothing logged yet.", "dim", cells=room)
        first, last = f"{steps[0].step:,}", f"{steps[-1].step:,}"
        middle = " step ".center(room - _MARGIN - len(first) - len(last))
        lines.append(Text(" " * _MARGIN + (first + middle + last if first != last else f"step {last}"), "dim"))
        for line in lines:
            line.truncate(room, overflow="crop")
        return Group(*lines)

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

    loss, auc = _measured(steps, "loss"), _measured(steps, "auc")
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
        above.plot(*_smoothed(loss), color="#1f4e79", linewidth=1.8, label="smoothed")
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


def _measured(steps: Sequence[Point], field: str) -> list[tuple[int, float]]:
    """The steps at which `field` was measured, with its values."""
    return [(one.step, value) for one in steps if (value := _number(getattr(one, field))) is not None]


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and abs(value) < _ABSURD else None


def _title(name: str, points: Sequence[tuple[int, float]], steps: Sequence[Point]) -> str:
    step, value = points[-1]
    title = f"{name} {_short(value)}"
    if name != "loss":
        ends = next((_number(one.auc_low), _number(one.auc_high)) for one in reversed(steps) if one.step == step)
        title += "" if None in ends else " ({:.3f} to {:.3f})".format(*ends)
    title += f" at step {step:,}"
    best_step, best = max(points, key=lambda point: point[1])
    return title if name == "loss" or best == value else f"{title}, best {_short(best)} at {best_step:,}"


def _area(
    canvas: Canvas, points: Sequence[tuple[int, float]], ends: tuple[int, int], width: int, colour: str
) -> Iterator[Text]:
    """The rows of a curve that is filled below, from its highest to its lowest value; neighbours are averaged."""
    at, values = np.array(points).T
    cells = ((at - ends[0]) / max(ends[1] - ends[0], 1) * (width - 1)).round().astype(int)
    counts = np.bincount(cells)
    (seen,) = counts.nonzero()
    means = np.bincount(cells, values)[seen] / counts[seen]
    low, high = means.min(), means.max()
    blocks = _ASCII_BLOCKS if canvas.glyphs is ASCII else _BLOCKS
    top = (len(blocks) - 1) * _ROWS
    shares = (means - low) / (high - low) if high > low else np.full(len(means), 0.5)
    # Before the first point and behind the last one there is nothing; everywhere else at least the lowest block.
    levels = np.interp(np.arange(width), seen, 1 + shares * (top - 1), left=0, right=0).round().astype(int)
    for row in reversed(range(_ROWS)):
        label = _short(high) if row == _ROWS - 1 else _short(low) if row == 0 and high > low else ""
        drawn = (levels - row * (len(blocks) - 1)).clip(0, len(blocks) - 1)
        line = Text(f"{label:>{_MARGIN - 2}} {canvas.glyphs.axis}", "dim")
        yield line.append("".join(blocks[level] for level in drawn), f"not dim {colour}")


def _short(value: float) -> str:
    return f"{value:.3f}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.2e}"


def _smoothed(points: Sequence[tuple[int, float]]) -> tuple[Vector, Vector]:
    """Means over a window that slides along: a thirtieth of the points, narrower at the ends."""
    steps, values = np.array(points).T
    sums, at = np.r_[0.0, values.cumsum()], np.arange(len(points))
    reach = np.minimum(np.minimum(at, at[::-1]), max(1, len(points) // 60))
    return steps, (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1)
