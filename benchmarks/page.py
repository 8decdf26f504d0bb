"""Put the tables of speed.json, exactness.json and growth.json into docs/performance.md:  python -m benchmarks.page"""

from __future__ import annotations

import json
import re
from pathlib import Path

from . import exactness, growth, speed

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def render(page: str) -> str:
    """The page with each table as its results say."""
    for name, part in (("speed", speed), ("exactness", exactness), ("growth", growth)):
        table = f"Not measured yet: `python -m benchmarks.{name}`."
        if part.RESULT.exists():
            table = part.markdown(json.loads(part.RESULT.read_text(encoding="utf-8")))
        marks = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        page = re.sub(f"{marks[0]}.*?{marks[1]}", table.join(marks).replace("\\", r"\\"), page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
