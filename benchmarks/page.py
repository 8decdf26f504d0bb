"""Put the tables of speed.json and exactness.json into docs/performance.md:  python -m benchmarks.page"""

from __future__ import annotations

import json
import re
from pathlib import Path

from . import exactness, speed

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def render(page: str) -> str:
    """The page with each table as its results say."""
    for name, part in (("speed", speed), ("exactness", exactness)):
        table = part.markdown(json.loads(part.RESULT.read_text(encoding="utf-8")))
        marks = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        page = re.sub(f"{marks[0]}.*?{marks[1]}", lambda _: table.join(marks), page, flags=re.DOTALL)  # noqa: B023
    return page


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
