"""How much weight recall needs beside the log-odds of an untuned model (RECALL_WEIGHT in recall/candidates.py).

    python benchmarks/fusion.py ../shared/data/movielens-small --users 60

For users with at least six liked films (rating 4 or more) the last one is held out of recall; it is ranked
among ten uniform negatives. Ties count half. Prints a table; nothing is written.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import numpy as np

from msr_local.catalogue.ingest import ingest
from msr_local.models.choice import Asking, cast
from msr_local.recall.candidates import Recall
from msr_local.recipe.recommender import Recommender
from msr_local.store import histories
from msr_local.store.workspace import Workspace

NEGATIVES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a MovieLens folder")
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adapter", default="none", help="a recommender to ask instead of the untuned model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, Workspace(Path(home)) as workspace:
        ingest(workspace, options.folder, min_rating=4)
        z, recall = measure(workspace, options.users, random.Random(options.seed), options.adapter)
    print(f"{len(z)} users, 1 held-out film and {NEGATIVES} uniform negatives each, seed {options.seed}\n")
    print("| score | AUC per user | HR@5 | MRR@5 |\n| --- | --- | --- | --- |")
    print(row("log-odds alone", z))
    print(row("recall alone", recall))
    for weight in (1, 2, 4, 8, 16, 32, 64):
        print(row(f"log-odds + {weight} x recall", z + weight * recall))


def measure(workspace: Workspace, count: int, rng: random.Random, adapter: str) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds and recall, each of shape [users, 1 + NEGATIVES], the held-out item first."""
    log = histories.log(workspace)
    ids, users, items = log.item_ids, log.users, log.items
    last = np.r_[users[1:] != users[:-1], True]
    held_out = last & (np.bincount(users)[users] >= 6)
    recall = Recall(ids, users[~held_out], items[~held_out], histories.texts(workspace))
    chosen = [row["user"] for row in histories.users(workspace) if row["interactions"] >= 6]
    rng.shuffle(chosen)
    z, known = [], []
    with Recommender(workspace, cast(workspace, Asking(adapter=adapter, recipe="history"))) as recommender:
        for user in chosen[:count]:
            *before, target = recommender.history(user)
            seen = [step.item.item_id for step in before]
            others = sorted(set(ids) - {*seen, target.item.item_id})
            asked = [
                recommender.judge.ask(recall.candidate(seen, item_id), "", before)
                for item_id in [target.item.item_id, *rng.sample(others, NEGATIVES)]
            ]
            z.append([answer.z for answer in recommender.judge.answers(asked)])
            known.append([one.candidate.recall for one in asked])
    return np.array(z), np.array(known)


def row(name: str, scores: np.ndarray) -> str:
    """One line of the table."""
    better = (scores[:, 1:] > scores[:, :1]).sum(1) + 0.5 * (scores[:, 1:] == scores[:, :1]).sum(1)
    auc, hit = 1 - better / NEGATIVES, better < 5
    spread = 1.96 * auc.std() / np.sqrt(len(auc))
    mrr = np.where(hit, 1 / (better + 1), 0).mean()
    return f"| {name} | {auc.mean():.3f} ± {spread:.3f} | {hit.mean():.3f} | {mrr:.3f} |"


if __name__ == "__main__":
    main()
