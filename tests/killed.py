"""Makes a process die at a chosen moment, as `kill -9` does (see `warm.py`).

A moment is `step:N` (after training step N was logged), `saving:N` (inside the writing of checkpoint N),
`before:MODULE:FUNCTION` or `after:MODULE:FUNCTION` (of msr_local.MODULE).
"""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from typing import Any


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wrap(module: Any, name: str, *, before: Callable[..., bool] = lambda *a, **k: False, after: bool = False) -> None:
    original = getattr(module, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before(*args, **kwargs):
            _die()
        result = original(*args, **kwargs)
        if after:
            _die()
        return result

    setattr(module, name, wrapped)


def arm(moment: str) -> None:
    """Make this process die at `moment`."""
    kind, _, rest = moment.partition(":")
    if kind == "step":
        from msr_local.store import runs

        _wrap(runs, "log_step", before=lambda workspace, run_id, step: step.step > int(rest))
    elif kind == "saving":
        import torch

        # The optimizer's state is written after the adapter: half a checkpoint is there.
        _wrap(torch, "save", before=lambda _, path, *a, **k: f"checkpoint-{rest}" in str(path))
    else:
        module, _, function = rest.rpartition(":")
        found = importlib.import_module(f"msr_local.{module}")
        owner, _, method = function.rpartition(".")
        target = getattr(found, owner) if owner else found
        _wrap(target, method, before=lambda *a, **k: kind == "before", after=kind == "after")
