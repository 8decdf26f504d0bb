"""The public names, and the Python example of the README."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import Ran

import msr_local

ROOT = Path(__file__).parents[1]


def test_exported_names() -> None:
    assert set(msr_local.__all__) == set(msr_local._HOMES)
    assert all(getattr(msr_local, name) is not None for name in msr_local.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = msr_local.nonsense


def test_the_example_gives_the_answer_of_the_command_line(cli: Callable[..., Ran], tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for name in ("items.csv", "interactions.csv"):
        (tmp_path / name).write_bytes((ROOT / "tests/films" / name).read_bytes())
    ran = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    *items, evidence = ran.stdout.splitlines()
    assert "Evidence(" in evidence
    told = cli("--home", tmp_path / "shop", "recommend", "ada", "-k", 5, "--json").json["items"]
    assert items == [f"{one['title']} {one['p_yes']}" for one in told] and len(items) == 5
