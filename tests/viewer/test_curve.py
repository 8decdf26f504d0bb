from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text
from viewer_samples import drawn

from msr_local.errors import MsrError
from msr_local.store.runs import Step
from msr_local.viewer.curve import curve_png, curve_view

BLOCKS = "▁▂▃▄▅▆▇█"


def training(n: int, every: int = 50) -> list[Step]:
    """A run of `n` steps whose loss falls and whose AUC grows."""
    noise = random.Random(n)
    steps = []
    for step in range(1, n + 1):
        auc = 0.55 + 0.2 * step / n if step % every == 0 or step in (1, n) else None
        loss = 0.3 + 0.6 * math.exp(-4 * step / n) + noise.gauss(0, 0.02)
        steps.append(Step(step, loss, auc, auc and auc - 0.03, auc and auc + 0.03))
    return steps


def lines(steps: list[Step], width: int = 80, **console: object) -> list[str]:
    return [Text.from_ansi(line).plain for line in drawn(curve_view(steps), width, **console).splitlines()]


def heights(rows: list[str]) -> list[int]:
    """How high a curve stands in each column, in eighths of a row."""
    plots = [row.split("│")[1].ljust(69) for row in rows]
    return [sum(BLOCKS.find(cell) + 1 for cell in column) for column in zip(*plots, strict=True)]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 40, 10_000])
@pytest.mark.parametrize("width", [1, 5, 12, 20, 40, 79, 80, 200])
@pytest.mark.parametrize(
    "console", [{}, {"encoding": "ascii"}, {"force_terminal": True}], ids=["piped", "ascii", "tty"]
)
def test_the_curves_fit(n, width, console):
    shown = lines(training(n), width, **console)
    assert 1 <= len(shown) <= 11
    assert max(map(cell_len, shown)) <= min(width, 80)


def test_loss_falls_and_auc_rises_over_named_steps():
    shown = lines(training(400))
    assert len(shown) == 11
    assert shown[0].startswith("loss 0.3") and "at step 400" in shown[0]
    assert shown[5] == "validation AUC 0.750 (0.720 to 0.780) at step 400"
    assert shown[-1].split() == ["1", "step", "400"]
    loss, auc = heights(shown[1:5]), heights(shown[6:10])
    assert loss[0] == 32 and auc[-1] == 32  # a full column
    assert loss[-1] < 4 and auc[0] == 1
    assert auc == sorted(auc) and sum(loss[:20]) > 3 * sum(loss[-20:])
    assert (shown[6].split()[0], shown[9].split()[0]) == ("0.750", "0.550")


def test_a_best_step_before_the_last_is_named():
    assert "best 0.800 at 10" in lines([Step(10, auc=0.8), Step(20, auc=0.7)])[0]
    assert "best" not in lines([Step(10, auc=0.7), Step(20, auc=0.8)])[0]


def test_a_curve_starts_and_ends_where_it_was_measured():
    auc = heights(lines([Step(1, 0.9), Step(20, 0.8, 0.5), Step(50, 0.7, 0.6), Step(70, 0.6)])[6:10])
    assert auc[18] == 0 and auc[19] == 1 and auc[48] == 32 and auc[49] == 0


@pytest.mark.parametrize("steps", [[], [Step(1)], [Step(1, math.nan, math.inf), Step(2, None, None, 0.1, 0.2)]])
def test_nothing_to_draw(steps):
    assert lines(steps) == ["Nothing logged yet."]


def test_gaps_are_bridged_and_what_is_no_number_is_left_out():
    good = [Step(1, 1.0), Step(4, 0.5)]
    assert lines([good[0], Step(2, math.nan), Step(3, None), good[1]]) == lines(good)


def test_one_stray_loss_does_not_flatten_a_long_curve_to_a_corner():
    steps = training(10_000)
    steps[5_000] = Step(5_001, 3.0)
    assert float(lines(steps)[1].split()[0]) < 1.0


VALUE = st.none() | st.floats() | st.integers(-10, 10).map(float)
POINT = st.builds(Step, st.integers(0, 10**9), VALUE, VALUE, VALUE, VALUE)


@settings(max_examples=150)
@given(st.lists(POINT, max_size=30), st.integers(1, 100))
def test_any_curve_keeps_inside(steps, width):
    shown = lines(sorted(steps, key=lambda step: step.step), width)
    assert len(shown) <= 11
    assert max(map(cell_len, shown)) <= width


# The picture


@pytest.fixture(scope="module")
def _matplotlib():
    pytest.importorskip("matplotlib", reason="draws the picture")


@pytest.mark.parametrize("n", [0, 1, 2, 40, 10_000])
def test_the_picture_is_a_picture(_matplotlib, tmp_path, n):
    from PIL import Image

    path = tmp_path / "curve.png"
    path.write_text("an older one")
    curve_png(path, training(n))
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG" and image.size == (1080, 810)
        assert len(image.getcolors(1 << 20) or ()) > 2
    assert list(tmp_path.iterdir()) == [path]


def test_the_picture_takes_what_is_no_number(_matplotlib, tmp_path):
    curve_png(tmp_path / "a.png", [Step(1, math.nan, math.inf, None, 1e300), Step(2, 0.5, 0.6, 0.5, None)])
    assert (tmp_path / "a.png").exists()


def test_a_picture_that_breaks_off_leaves_the_old_one(_matplotlib, tmp_path, monkeypatch):
    path = tmp_path / "curve.png"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MsrError, match="No space"):
        curve_png(path, training(3))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_no_matplotlib_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MsrError, match=r"needs matplotlib\. Next: pip install"):
        curve_png(tmp_path / "curve.png", [])
