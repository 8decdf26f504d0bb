"""The one way out: results on stdout (for people or as JSON), progress and notes on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..progress import Progress, silent
from ..text import printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

DONE, FAILED, USAGE, REJECTED, INTERRUPTED = 0, 1, 2, 3, 130  # exit codes
_LATELY, _TELLING = 60.0, 5.0  # seconds: over which a rate is measured, and at least
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
    "new items": "Scoring lists with items as new",
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


class _Pace:
    """How fast a stage goes, by its results of the last minute.

    What came before the first result (a model that loads, a first picture) says nothing about the others; and too short
    a while does not either, because many results come at once.
    """

    def __init__(self, done: int) -> None:
        self._began = done
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, done: int) -> float | None:
        """Results a second, now that there are `done`; None while that is not known."""
        now = time.monotonic()
        if self._seen and done < self._seen[-1][1]:  # it starts again
            self._seen.clear()
            self._began = done
        if done > self._began and not (self._seen and done == self._seen[-1][1]):
            self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > _LATELY:
            self._seen.popleft()
        if not self._seen:
            return None
        since, first = self._seen[0]
        return (done - first) / (now - since) if now - since >= _TELLING and done > first else None


class _Bars:
    """Rich progress bars, one a stage, gone when the work is done."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        rate, left = (TextColumn(f"{{task.fields[{name}]}}", style="dim") for name in ("rate", "left"))
        self.rich = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
            rate, left, console=console(sys.stderr), transient=True,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}
        self._paces: dict[str, _Pace] = {}

    def update(self, stage: str, done: int, total: int, detail: str = "") -> None:
        if stage not in self._tasks or (done == 0 and self.rich.tasks[self._tasks[stage]].finished):
            self._tasks[stage] = self.rich.add_task(_STAGES.get(stage, stage), total=None, rate="", left="")
            self._paces[stage] = _Pace(done)
        rate = self._paces[stage].update(done)
        self.rich.update(
            self._tasks[stage], completed=done, total=total or None, rate=detail or (_speed(rate) if rate else ""),
            left=_left(rate, total - done), visible=not total or done < total,
        )  # fmt: skip


class _Lines:
    """A line now and then, for logs."""

    _every = 10.0  # seconds

    def __init__(self, output: Output) -> None:
        self._output = output
        self._paces: dict[str, _Pace] = {}
        self._last = time.monotonic()

    def update(self, stage: str, done: int, total: int, detail: str = "") -> None:
        rate = self._paces.setdefault(stage, _Pace(done)).update(done)
        now = time.monotonic()
        if now - self._last < self._every or not 0 < done < total:
            return
        self._last = now
        facts = [f"{done:,} of {total:,}", detail or (_speed(rate) if rate else ""), _left(rate, total - done)]
        self._output.note(f"{_STAGES.get(stage, stage)}: {', '.join(filter(None, facts))}")


def _left(rate: float | None, count: int) -> str:
    """The time that so many results will take, in the unit that fits; "" where that is not known."""
    if not rate or count <= 0:
        return ""
    seconds = count / rate
    if seconds < 100:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 6000 else f"{seconds / 3600:.1f} h left"


def _speed(rate: float) -> str:
    """So many a second as words; of slow work, so many a minute."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"


def console(stream: Any) -> Console:
    """A console that knows no markup and no emoji codes: all text is data."""
    from rich.console import Console

    return Console(file=stream, markup=False, emoji=False, highlight=False)
