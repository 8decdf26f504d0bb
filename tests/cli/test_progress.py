"""Time left, as it is told: from the first word on near the truth, whatever comes before and in between."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_local.cli import output as module
from msr_local.cli.output import Output

UNITS = {"s": 1, "min": 60, "h": 3600}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def told(load: float, batch: int, seconds: float, total: int, slower: float = 1.0) -> list[tuple[float, float]]:
    """(time that was told to be left, time that was left) of each line on a model that loads first.

    It makes `batch` results at a time, nearly at once, in so many `seconds`; after half of them in more.
    """
    clock = Clock()
    times: list[tuple[float, int]] = []
    at, done = load, 0
    while done < total:
        at += seconds * (slower if done > total / 2 else 1.0)
        times += [(1000 + at + n * 0.01, done + n + 1) for n in range(min(batch, total - done))]
        done += min(batch, total - done)
    said: list[tuple[float, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.time, "monotonic", clock.monotonic)
        patch.setattr(sys, "stderr", io.StringIO())
        with Output().progress() as progress:
            progress("captions", 0, total)
            for now, count in times:
                clock.now = now
                before = len(sys.stderr.getvalue())  # type: ignore[attr-defined]
                progress("captions", count, total)
                line = sys.stderr.getvalue()[before:]  # type: ignore[attr-defined]
                if found := re.search(r"([\d.]+) (s|min|h) left", line):
                    said.append((float(found[1]) * UNITS[found[2]], times[-1][0] - now))
    return said


@settings(max_examples=60)
@given(load=st.floats(0, 120), batch=st.integers(1, 32), seconds=st.floats(0.05, 20), total=st.integers(200, 2000))
def test_it_is_never_far_from_the_truth(load: float, batch: int, seconds: float, total: int) -> None:
    for say, true in told(load, batch, seconds, total):
        if true > 30:
            assert true / 3 <= say <= 3 * true


def test_a_model_that_loads_for_a_minute_makes_no_hours_of_minutes() -> None:
    """One result after 60 seconds of loading is no rate of one a minute."""
    first = told(load=60, batch=1, seconds=0.3, total=600)[0]
    assert first[0] == pytest.approx(first[1], rel=0.2)


def test_it_is_corrected_as_the_work_changes() -> None:
    said = told(load=5, batch=4, seconds=1, total=2000, slower=5)
    late = [(say, true) for say, true in said if true < 800]
    assert late and all(true / 1.5 <= say <= 1.5 * true for say, true in late[5:] if true > 60)


def test_nothing_is_said_of_time_before_anything_is_known() -> None:
    assert told(load=300, batch=1, seconds=1, total=3) == []
