"""People who only ever take things with "good" in their name: something that a tiny model can learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from samples import Ran

USERS, ITEMS, STEPS = 30, 60, 12


def write(folder: Path) -> tuple[Path, Path]:
    """The things, and who took them: (items.csv, log.csv)."""
    rng = np.random.default_rng(0)
    lines = ["item_id,title,genre"]
    lines += [
        f"i{n},The {'good' if n % 3 == 0 else 'bad'} thing {n},{'red' if n % 2 else 'blue'}" for n in range(ITEMS)
    ]
    (folder / "items.csv").write_text("\n".join(lines) + "\n")
    steps = ["user_id,item_id,timestamp"]
    for user in range(USERS):
        for number, item in enumerate(rng.permutation(range(0, ITEMS, 3))[:STEPS]):
            steps.append(f"u{user},i{item},{1_000_000_000 + 1000 * number + user}")
    (folder / "log.csv").write_text("\n".join(steps) + "\n")
    return folder / "items.csv", folder / "log.csv"


def options(base: Path, **changes: object) -> list[str]:
    """A small run: 16 training steps of 8 questions."""
    given = {
        "base": base, "backend": "peft", "recipe": "history", "rows": 128, "validation-rows": 48, "epochs": 1,
        "batch": 8, "accumulation": 1, "rank": 4, "alpha": 8, "lr": 0.01, "eval-every": 4, "threads": 1, **changes,
    }  # fmt: skip
    return ["finetune", *(text for name, value in given.items() for text in (f"--{name}", str(value)))]


def trained(call: Callable[..., Ran]) -> dict[str, Any]:
    """The workspace's adapters by name, without what comes with msr-local."""
    return {row["name"]: row for row in call("adapters", "list", "--json").json if not row.get("shipped")}
