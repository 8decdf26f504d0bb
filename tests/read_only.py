"""A folder that cannot be written for a while, for root too."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in `folder` can be changed meanwhile. Skips the test where nobody can see to that."""
    places = [folder, *folder.rglob("*")]
    if os.geteuid():
        modes = {place: place.stat().st_mode for place in places}
        for place, mode in modes.items():
            place.chmod(mode & ~0o222)
        try:
            yield
        finally:
            for place, mode in modes.items():
                place.chmod(mode)
        return
    try:
        subprocess.run(["mount", "--bind", folder, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("root without the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True, capture_output=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)
