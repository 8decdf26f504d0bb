"""The drawn shop as training data for the shipped recommender, and how well that does on shoppers it never saw.

    python -m embedded.shop write work/recommender/shop-data    # the catalogue, and the training shoppers' purchases
    python -m embedded.shop measure work/shop-test > work/shop-measured.json    # held-out shoppers

What is trained on it and on other catalogues: `embedded.recommender`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from msr_local.catalogue.ingest import ingest
from msr_local.demo import catalogue, shop
from msr_local.demo.users import Shopper, matches, shoppers
from msr_local.evaluation.metrics import mean_estimate
from msr_local.models.choice import Asking, cast
from msr_local.recipe.recommender import Recommender
from msr_local.store.workspace import Workspace

HELD_BACK = 2  # purchases of each held-out shopper that are to be predicted, one after the other


def write(folder: Path, purchases: Iterable[tuple[str, str, str]]) -> None:
    """The catalogue, and these purchases (user, item, timestamp) instead of everybody's."""
    shop.write_files(folder, catalogue.products(), purchases)


def purchases(people: Iterable[Shopper], held_back: int = 0) -> Iterable[tuple[str, str, str]]:
    """What `people` bought but for the last `held_back` purchases of each."""
    for one in people:
        for item, moment in one.history[: len(one.history) - held_back]:
            yield one.user_id, item, moment


def measure(folder: Path, candidates: int, adapter: str | None) -> dict[str, Any]:
    """Hits among the best ten for held-out shoppers' last purchases, and how much of the ten is to their taste."""
    looks = {product.item_id: product.look for product in catalogue.products()}
    training = [one for one in shoppers() if one.training]
    others = [one for one in shoppers() if not one.training]
    popular = [item for item, _ in Counter(item for _, item, _ in purchases(training)).most_common()]
    found: dict[str, list[float]] = {}
    asked: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder) as kept:  # a fresh one: an earlier run's has the answers
        home = Path(kept)
        for back in range(HELD_BACK, 0, -1):
            write(folder, [*purchases(training), *purchases(others, back)])
            with Workspace(home) as workspace:
                ingest(workspace, folder / "items.csv", folder / "interactions.csv")
                with Recommender(workspace, cast(workspace, Asking(adapter=adapter))) as recommender:
                    recommender.captions.make()
                    for one in others:
                        asked.append(one.user_id)
                        seen = [item for item, _ in one.history[:-back]]  # in time order
                        target, taste = one.history[-back][0], one.tastes[-1]
                        ranked = recommender.recommend(one.user_id, 10, candidates).items
                        lists = {
                            "recommended": [item.item_id for item in ranked],
                            "popular": [item for item in popular if item not in seen][:10],
                        }
                        recalled = recommender.recall.now().candidates(seen, 10)
                        lists["recall alone"] = [one.item_id for one in recalled]
                        for name, items in lists.items():
                            found.setdefault(f"{name}: HR@10", []).append(target in items)
                            share = np.mean([matches(taste, looks[item]) for item in items])
                            found.setdefault(f"{name}: to their taste", []).append(float(share))
    return {
        "questions": len(others) * HELD_BACK,
        "seconds": round(time.monotonic() - began),
        # Two purchases of one shopper are no two shoppers.
        **{name: mean_estimate(np.array(values, float), asked).to_json() for name, values in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["write", "measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--adapter", help="another recommender than the shipped one, or none")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.task == "write":
        write(arguments.folder, purchases(one for one in shoppers() if one.training))
    else:
        print(json.dumps(measure(arguments.folder, arguments.candidates, arguments.adapter), indent=1))


if __name__ == "__main__":
    main()
