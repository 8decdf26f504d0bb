"""The benchmark of known tastes: its lists and metrics, the variant with shuffled captions, and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import tastes, worlds
from benchmarks.worlds import Person, World
from msr_local.catalogue.ingest import ingest
from msr_local.store import histories, results
from msr_local.store.workspace import Workspace

WORLD = World(
    {f"i{k}": {"colour": "red" if k < 20 else "blue", "object": f"thing {k % 3}"} for k in range(40)},
    {"ann": Person([{"colour": ["blue"]}, {"colour": ["red"]}], [2], "i5")},
)


def test_the_page_says_what_was_measured() -> None:
    assert tastes.PAGE.read_text(encoding="utf-8") == tastes.page(), "run `python -m benchmarks.tastes`"


def test_metrics_of_a_list() -> None:
    ranked = ["i30", "i5", *(f"i{k}" for k in range(10, 16)), "i31", "i32"]
    found = tastes.per_user(WORLD, {"ann": ranked}, ["ann"])
    assert found["hr@10"] == [1.0] and found["ndcg@10"] == pytest.approx([1 / np.log2(3)])
    assert found["taste"] == pytest.approx([0.7])
    missed = tastes.per_user(WORLD, {"ann": [f"i{k}" for k in range(30, 40)]}, ["ann"])
    assert [missed[name][0] for name in tastes.METRICS] == [0.0, 0.0, 0.0]


def test_who_knows_the_truth_ranks_by_it(tmp_path: Path) -> None:
    world = worlds.write("second", tmp_path, tmp_path, image_size=16)
    users = list(world.people)[:40]
    with Workspace(tmp_path / "home") as workspace:
        ingest(workspace, tmp_path / "items.csv", tmp_path / "interactions.csv")
        lists = tastes.known(world, workspace, users)
        seen = {user: {step.item.item_id for step in histories.history(workspace, user)} for user in users}
    means = {}
    for way, ranked in lists.items():
        assert all(len(set(items)) == 10 and not seen[user] & set(items) for user, items in ranked.items())
        means[way] = {name: values.mean() for name, values in tastes.per_user(world, ranked, users).items()}
    assert means["who knows the taste"]["hr@10"] == 1.0  # of 10 to 12 that fit, some were bought
    for metric in tastes.METRICS:
        assert means["who knows the taste"][metric] > means["attribute counting"][metric] > means["popularity"][metric]


def test_shuffled_captions_are_anothers_under_the_same_settings(tmp_path: Path) -> None:
    worlds.write("second", tmp_path, tmp_path, image_size=16)
    with Workspace(tmp_path / "home") as workspace:
        ingest(workspace, tmp_path / "items.csv", tmp_path / "interactions.csv")
        for item in histories.items(workspace, [f"p{k:03}" for k in range(1, 51)]):
            results.save_caption(workspace, item, "settings", f"key of {item.item_id}", item.item_id, "model")
    tastes._copy(tmp_path / "home", tmp_path / "other", "settings")
    with Workspace(tmp_path / "other") as workspace:
        found = results.captions(workspace, "settings")
    assert all(key == f"key of {item}" and text != item for item, (key, text) in found.items())
    assert sorted(text for _, text in found.values()) == sorted(found) and len(found) == 50


def test_of_few_shoppers_all_purchases_are_known_and_of_others_none(tmp_path: Path) -> None:
    log = tmp_path / "interactions.csv"
    log.write_text("user_id,item_id\nann,i1\nbob,i1\nann,i2\nannie,i3\n")
    assert tastes._of_few(log, ["ann"]).read_text() == "user_id,item_id\nann,i1\nann,i2\n"


def test_evidence_is_right_where_it_speaks_for_what_is_liked() -> None:
    rows = [(0.5 - 0.1 * k, k < 3, f"user {k % 4}") for k in range(12)]
    assert tastes._auc(rows)["auc"]["value"] == 1.0
    assert tastes._auc([(one, not true, user) for one, true, user in rows])["auc"]["value"] == 0.0
    assert tastes._auc([(one, False, user) for one, _, user in rows]) == {"auc": None, "parts": 12, "true": 0}


def test_the_page_has_a_row_for_each_way() -> None:
    one = {"value": 0.5, "ci95": [0.4, 0.6]}
    metrics = dict.fromkeys(tastes.METRICS, one)
    test = {metric: {**one, "p": 0.01} for metric in tastes.METRICS}
    document: dict[str, Any] = {
        "items": 300, "commit": "abc1234", "users": 20, "crowd": 300, "candidates": 100, "learned": {"used": False},
        "model": {"sha256": "a" * 64, "adapter": None, "adapter_sha256": None},
        "rows": {"recommended": metrics, "recall alone": metrics},
        "tests": {"recommended - recall alone": test},
        "variants": {"no-captions": {"rows": {"recommended": metrics}, "lost": {"recommended": test}}},
        "evidence": {"summary": {"auc": None, "parts": 4, "true": 0, "shoppers": 2}},
    }  # fmt: skip
    text = tastes.markdown({"shop-learned": document})
    assert "| recommended, no captions | 50.0 [40.0, 60.0] |" in text
    assert "Lost with no captions, recommended: HR@10 +50.0 (p 0.0100)" in text
    assert "| summary | - | 4 | 0 | 2 |" in text and "adapter none." in text and "Made at abc1234." in text
