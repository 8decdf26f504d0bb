"""What an earlier release asked is not asked again: identities and keys are the same, bit for bit."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msr_local import Recommender, Workspace, explain
from msr_local.engine.fake import FakeEngine
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


def as_told_then(item: dict[str, Any]) -> dict[str, Any]:
    """An item with p(yes) as that release told it, calibrated, and nothing that it did not tell."""
    return {name: value for name, value in item.items() if name not in ("p_yes", "probability")}


def test_the_model_is_asked_nothing_and_the_answers_are_the_same(old: Workspace) -> None:
    with opened(old) as recommender:
        found = recommender.recommend("ada").to_json()
        assert recommender.captions.missing() == 0
    found.pop("timing")
    for place in ("file", "mmproj"):
        found["model"].pop(place)
    for document in (found, expected := copy.deepcopy(EXPECTED["recommend"])):
        document["items"] = [as_told_then(item) for item in document["items"]]
    assert found == expected


def test_an_explanation_asks_about_the_other_items_only(old: Workspace) -> None:
    """That release did not compare with others; what it asked about the explained item is not asked again."""
    engine = FakeEngine()
    with Recommender(old, open_engine=lambda _: engine) as recommender:
        why = explain(recommender, "ada").to_json()
    expected = EXPECTED["explain"]
    assert engine.asked and not any(why["title"] in question.own for question in engine.asked)
    assert (why["item_id"], why["log_odds"], why["caption"]) == tuple(
        expected[name] for name in ("item_id", "log_odds", "caption")
    )
    lost = {piece["kind"]: piece["delta_log_odds"] for piece in expected["evidence"]}
    assert [piece["kind"] for piece in why["evidence"]] == [piece["kind"] for piece in expected["evidence"]]
    for piece in why["evidence"]:
        if piece["kind"] != "history":  # of which there are several
            assert piece["delta_log_odds"] + piece["common"] == pytest.approx(lost[piece["kind"]])
    assert [block["summary"] for block in why["timeline"]] == [block["summary"] for block in expected["timeline"]]


def test_questions_about_the_past_are_not_asked_again(old: Workspace) -> None:
    log = histories.log(old)
    rows = [int(np.flatnonzero(log.users == user)[-1]) for user in range(2)]
    cases = [
        Case(int(log.users[row]), log.items[log.users == log.users[row]][:-1], int(log.items[row]), row, frozenset())
        for row in rows
    ]
    with opened(old) as recommender:
        recall = recommender.recall.now()
        lists = [
            recall.described([log.item_ids[item] for item in case.history], np.array([case.target, 0, 1], np.int32))
            for case in cases
        ]
        asked = Answers(recommender, log).questions(cases, lists)
        scores = [(some, recommender.judge.past_scores(some)) for some in asked]
        z = [[found[one.item.item_id].log_odds for one in some] for some, found in scores]
    assert z == EXPECTED["past"]


def test_texts_are_not_read_again(old: Workspace) -> None:
    with opened(old) as recommender:
        vectors = recommender.vectors.of(recommender.recall.texts())
    assert [round(float(one.sum()), 3) for one in vectors] == EXPECTED["vectors"]
