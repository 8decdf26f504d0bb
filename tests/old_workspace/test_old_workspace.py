"""What an earlier release asked is not asked again: identities and keys are the same, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msr_local import Recommender, Workspace, explain
from msr_local.engine.types import EngineConfig
from msr_local.evaluation.answers import Answers
from msr_local.recall.protocols import Case
from msr_local.store import histories

HERE = Path(__file__).parent
EXPECTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Workspace]:
    """The workspace as that release left it."""
    shop, home = tmp_path / "shop", tmp_path / "home"
    shutil.copytree(HERE / "pictures", shop / "pictures")
    for picture in (shop / "pictures").iterdir():
        os.utime(picture, ns=(1_700_000_000 * 10**9,) * 2)
    home.mkdir()
    with sqlite3.connect(home / "msr.db") as database:
        database.executescript((HERE / "workspace.sql").read_text(encoding="utf-8").replace("@SHOP@", str(shop)))
    database.close()
    with Workspace(home) as workspace:
        yield workspace


def opened(workspace: Workspace) -> Recommender:
    def refuse(config: EngineConfig) -> Any:
        raise AssertionError(f"{config.model.name} was to be asked")

    return Recommender(workspace, open_engine=refuse)


def without_wording(document: dict[str, Any]) -> dict[str, Any]:
    """An explanation without the words that this release chooses otherwise: labels of evidence, and notes."""
    evidence = [(piece["kind"], piece["delta_log_odds"]) for piece in document["evidence"]]
    items = without_recall(document["recommendations"])
    return {**document, "evidence": evidence, "notes": len(document["notes"]), "recommendations": items}


def without_recall(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Recommendations as far as the model made them: recall has weighed words since."""
    mine = [{name: one[name] for name in one.keys() - {"rank", "score", "shares"}} for one in items]
    return sorted(mine, key=itemgetter("item_id"))


def test_the_model_is_asked_nothing_and_the_answers_are_the_same(old: Workspace) -> None:
    with opened(old) as recommender:
        found = recommender.recommend("ada").to_json()
        why = explain(recommender, "ada").to_json()
        assert recommender.captions.missing() == 0
    found.pop("timing")
    for place in ("file", "mmproj"):
        found["model"].pop(place)
    before = EXPECTED["recommend"]
    assert without_recall(found.pop("items")) == without_recall(before["items"])
    assert found == {name: one for name, one in before.items() if name != "items"}
    assert without_wording(why) == without_wording(EXPECTED["explain"])


def test_questions_about_the_past_are_not_asked_again(old: Workspace) -> None:
    log = histories.log(old)
    rows = [int(np.flatnonzero(log.users == user)[-1]) for user in range(2)]
    cases = [
        Case(int(log.users[row]), log.items[log.users == log.users[row]][:-1], int(log.items[row]), row, frozenset())
        for row in rows
    ]
    with opened(old) as recommender:
        asked = [np.array([case.target, 0, 1], np.int32) for case in cases]
        z = [one.tolist() for one in Answers(recommender, log)(cases, recommender.recall.now(), asked)]
    assert z == EXPECTED["past"]


def test_texts_are_not_read_again(old: Workspace) -> None:
    with opened(old) as recommender:
        vectors = recommender.vectors.of(recommender.recall.texts())
    assert [round(float(one.sum()), 3) for one in vectors] == EXPECTED["vectors"]
