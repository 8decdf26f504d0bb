"""What an earlier release read is not read again: identities and keys of captions and vectors are the same."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msr_local import Recommender, Workspace
from msr_local.engine.fake import FakeEngine
from msr_local.engine.types import EngineConfig
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


def test_captions_are_kept(old: Workspace) -> None:
    with opened(old) as recommender:
        assert recommender.captions.missing() == 0
        known = recommender.captions.known()
    assert {item_id: known[item_id] for item_id in EXPECTED["captions"]} == EXPECTED["captions"]


def test_texts_are_not_read_again(old: Workspace) -> None:
    with opened(old) as recommender:
        vectors = recommender.vectors.of(recommender.recall.texts())
    assert [round(float(one.sum()), 3) for one in vectors] == EXPECTED["vectors"]


def test_the_new_question_is_asked_and_old_answers_are_not_lost(old: Workspace) -> None:
    before = histories.counts(old)
    engine = FakeEngine()
    with Recommender(old, open_engine=lambda _: engine) as recommender:
        found = recommender.recommend("ada")
    assert len(engine.asked) >= len(found.items) > 0
    after = histories.counts(old)
    assert after["scores"] > before["scores"]
    assert {name: after[name] for name in ("items", "interactions", "captions")} == {
        name: before[name] for name in ("items", "interactions", "captions")
    }
