"""The public names, and the Python example of the README."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import msr_local

ROOT = Path(__file__).parents[1]


def test_exported_names() -> None:
    assert set(msr_local.__all__) == set(msr_local._HOMES)
    assert all(getattr(msr_local, name) is not None for name in msr_local.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = msr_local.nonsense


def test_the_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for name in ("items.csv", "interactions.csv"):
        (tmp_path / name).write_bytes((ROOT / "tests/films" / name).read_bytes())
    ran = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 6 and "Evidence(" in ran.stdout
