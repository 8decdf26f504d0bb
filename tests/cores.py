"""A core for each worker of pytest-xdist: engines and torch take all threads they may, and would wait for others."""

from __future__ import annotations

import os

_WORKER = os.environ.get("PYTEST_XDIST_WORKER")
_ALL = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def take_one() -> None:
    """Keep to one core, another one in each worker; where tests do not run side by side, to none."""
    if _WORKER and _ALL:
        os.sched_setaffinity(0, {_ALL[int(_WORKER.removeprefix("gw")) % len(_ALL)]})


def take_all() -> None:
    """Use all cores again."""
    if _WORKER and _ALL:
        os.sched_setaffinity(0, _ALL)
