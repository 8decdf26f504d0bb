"""Put results into the README, docs/performance.md and docs/scale.md:  python -m benchmarks.page"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

from . import before, exactness, growth, people, reading, scale, speed

ROOT = Path(__file__).parents[1]


def table(part: ModuleType) -> str:
    """The table of a script, from its result."""
    if not part.RESULT.exists():
        return f"Not measured yet: `python -m {part.__name__}`."
    made: str = part.markdown(json.loads(part.RESULT.read_text(encoding="utf-8")))
    return made


def _tables(*parts: ModuleType) -> dict[str, Callable[[], str]]:
    return {part.__name__.rpartition(".")[2]: partial(table, part) for part in parts}


PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "README.md": {"reading": reading.markdown, "cold": reading.cold, "microlens": reading.microlens},
    ROOT / "docs/performance.md": _tables(speed, people, before, exactness, growth),
    ROOT / "docs/scale.md": _tables(scale),
}


def render(page: Path) -> str:
    """A page with each table as its results say."""
    text = page.read_text(encoding="utf-8")
    for name, made in PAGES[page].items():
        marks = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        text = re.sub(f"{marks[0]}.*?{marks[1]}", made().join(marks).replace("\\", r"\\"), text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(render(page), encoding="utf-8")
