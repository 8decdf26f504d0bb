"""The figures of docs/reliability.md: see `python -m benchmarks.reliability --help`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# The tiny random models and the processes that start at once are those of the tests.
if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))
