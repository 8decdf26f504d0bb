"""The documents say what the program does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import reference_pages
from samples import Ran

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_cli_page_is_current() -> None:
    script = "import reference_pages; print(reference_pages.render(), end='')"
    fresh = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert reference_pages.PAGE.read_text(encoding="utf-8") == fresh.stdout, "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_commands_of_the_readme_run(cli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `$ msr-local …` line of the README, in order, on the films and with the embedded model."""
    commands = re.findall(r"^\$ msr-local (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) >= 5
    monkeypatch.chdir(tmp_path)
    for name in ("items.csv", "interactions.csv"):
        (tmp_path / name).write_bytes((ROOT / "tests/films" / name).read_bytes())
    for command in commands:
        arguments = shlex.split(command.split(" | ")[0].split("  #")[0])
        ran = cli(*arguments)
        assert ran.code == 0, f"{command}\n{ran.err}"
