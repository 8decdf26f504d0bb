"""The documents say what the program does."""

from __future__ import annotations

import os
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


def rendered(before: str = "") -> str:
    """The page as this checkout's commands make it, in a process that knows nothing of an installed msr-local."""
    script = f"{before}\nfrom tests import reference_pages\nprint(reference_pages.render(), end='')"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    return ran.stdout.decode("utf-8")


def test_cli_page_is_current() -> None:
    assert reference_pages.PAGE.read_bytes().decode("utf-8") == rendered(), "run `make docs`"


def test_the_cli_page_says_what_the_commands_say() -> None:
    changed = "from msr_local.cli.app import app\napp.registered_commands[0].help = 'Something else.'"
    assert "Something else." in rendered(changed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_does_what_it_says(cli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `$ msr-local …` line of the README, in order, on the films and with the embedded model; then its Python."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ msr-local (.+)$", readme, re.MULTILINE)
    assert len(commands) >= 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSR_LOCAL_HOME", str(tmp_path / "shop"))  # the workspace of the example: answers are kept
    for name in ("items.csv", "interactions.csv"):
        (tmp_path / name).write_bytes((ROOT / "tests/films" / name).read_bytes())
    for command in commands:
        arguments = shlex.split(command.split(" | ")[0].split("  #")[0])
        ran = cli(*arguments)
        assert ran.code == 0, f"{command}\n{ran.err}"
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    told = cli("recommend", "ada", "-k", 5, "--json").json["items"]
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *items, evidence = done.stdout.splitlines()
    assert "Evidence(" in evidence
    assert items == [f"{one['title']} {one['p_yes']}" for one in told] and len(items) == 5
