"""Put the results beside the scripts into docs/performance.md and docs/scale.md:  python -m benchmarks.page"""

from __future__ import annotations

import json
import re
from pathlib import Path

from . import before, exactness, growth, people, scale, speed

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    DOCS / "performance.md": {
        "speed": speed,
        "people": people,
        "before": before,
        "exactness": exactness,
        "growth": growth,
    },
    DOCS / "scale.md": {"scale": scale},
}


def render(page: Path) -> str:
    """A page with each table as its results say."""
    text = page.read_text(encoding="utf-8")
    for name, part in PAGES[page].items():
        table = f"Not measured yet: `python -m benchmarks.{name}`."
        if part.RESULT.exists():
            table = part.markdown(json.loads(part.RESULT.read_text(encoding="utf-8")))
        marks = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        text = re.sub(f"{marks[0]}.*?{marks[1]}", table.join(marks).replace("\\", r"\\"), text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(render(page), encoding="utf-8")
