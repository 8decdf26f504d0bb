"""The one way out: results on stdout (for people or as JSON), progress and notes on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..progress import Progress, silent
from ..text import printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

DONE, FAILED, USAGE, REJECTED, INTERRUPTED = 0, 1, 2, 3, 130  # exit codes
_STAGES = {
    "download": "Downloading (MB)",
    "columns": "Looking at the columns",
    "items": "Reading items",
    "interactions": "Reading interactions",
    "pictures": "Checking pictures",
    "captions": "Captioning pictures",
    "users": "Summarising histories",
    "summary": "Summarising the history",
    "scores": "Scoring candidates",
    "recommendations": "Recommending to users",
    "evidence": "Measuring the evidence",
    "summaries for questions": "Summarising histories",
    "train questions": "Making training questions",
    "validation questions": "Making validation questions",
    "training": "Training",
    "gate": "Checking the exported model",
    "item vectors": "Reading the items' texts",
    "two towers": "Training two towers",
    "two towers that read": "Training two towers on texts",
    "SASRec": "Training SASRec",
    "GRU4Rec": "Training GRU4Rec",
    "baselines": "Scoring with the baselines",
    "recalled positives": "Finding positives that recall offers",
    "recall scores": "Scoring lists to fit recall",
    "recall gain": "Measuring recall",
    "whole catalogue": "Ranking the whole catalogue",
    "evaluation": "Asking the model",
}


class Output:
    """Where a command writes. `quiet` silences everything on stderr but errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def result(self, document: Any, view: Callable[[], RenderableType], *, as_json: bool) -> None:
        """Print one result: `document` as JSON, or the renderable that `view` makes, for people."""
        if as_json:
            ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
            text = json.dumps(document, indent=2, ensure_ascii=ascii_only, allow_nan=False)
            sys.stdout.write(printable_json(text) + "\n")
        else:
            console(sys.stdout).print(view())

    def note(self, text: str) -> None:
        """A line for the reader that is no result."""
        if not self.quiet:
            self._line(text)

    def error(self, text: str) -> None:
        """What went wrong and what to do next."""
        self._line(f"Error: {text}", style="bold red")

    def _line(self, text: str, style: str = "") -> None:
        from rich.text import Text

        console(sys.stderr).print(Text(printable(text), style=style), soft_wrap=True)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """A callback for (stage, done, total): a bar with rate and time left, or plain lines when piped."""
        if self.quiet:
            yield silent
        elif sys.stderr.isatty():
            bars = _Bars()
            with bars.rich:
                yield bars.update
        else:
            yield _Lines(self).update


class _Bars:
    """Rich progress bars, one a stage, gone when the work is done."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
        from rich.progress import TimeRemainingColumn as TimeLeft

        rate = TextColumn("{task.fields[rate]}", style="dim")
        self.rich = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
            rate, TimeLeft(compact=True), console=console(sys.stderr), transient=True,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}

    def update(self, stage: str, done: int, total: int, detail: str = "") -> None:
        if stage not in self._tasks or (done == 0 and self.rich.tasks[self._tasks[stage]].finished):
            self._tasks[stage] = self.rich.add_task(_STAGES.get(stage, stage), total=None, rate="")
        task = self._tasks[stage]
        speed = self.rich.tasks[task].speed
        self.rich.update(
            task, completed=done, total=total or None, rate=detail or (_speed(speed) if speed else ""),
            visible=not total or done < total,
        )  # fmt: skip


class _Lines:
    """A line now and then, for logs."""

    _every = 10.0  # seconds

    def __init__(self, output: Output) -> None:
        self._output = output
        self._began: dict[str, tuple[float, int]] = {}
        self._last = time.monotonic()

    def update(self, stage: str, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        since, first = self._began.setdefault(stage, (now, done))
        if now - self._last < self._every or not 0 < done < total:
            return
        self._last = now
        rate = (done - first) / max(now - since, 1e-9)
        speed = detail or _speed(rate)
        left = f", {speed}, {(total - done) / rate:.0f} s left" if rate else ""
        self._output.note(f"{_STAGES.get(stage, stage)}: {done:,} of {total:,}{left}")


def _speed(rate: float) -> str:
    """So many a second as words; of slow work, so many a minute."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"


def console(stream: Any) -> Console:
    """A console that knows no markup and no emoji codes: all text is data."""
    from rich.console import Console

    return Console(file=stream, markup=False, emoji=False, highlight=False)
