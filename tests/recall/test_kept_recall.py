"""Recall's tables on disk: the same answers, never stale, and no more than a copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from msr_local.catalogue.ingest import ingest
from msr_local.models.choice import Asking, cast
from msr_local.recall import current, kept
from msr_local.recall.candidates import Recall
from msr_local.recipe.recommender import Recommender
from msr_local.store import histories
from msr_local.store.workspace import Workspace

ITEMS = "item_id,title\n" + "".join(f"i{n},Film {n} about {'ships' if n % 2 else 'cats'}\n" for n in range(40))


def log(people: int) -> str:
    rows = (f"u{user},i{(3 * user + step) % 40},{1000 + step}\n" for user in range(people) for step in range(5))
    return "user_id,item_id,timestamp\n" + "".join(rows)


@pytest.fixture
def shelf(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a workspace's kept recall, where also a small one is worth keeping."""
    monkeypatch.setattr(kept, "WORTH", 1)
    (tmp_path / "items.csv").write_text(ITEMS)
    (tmp_path / "log.csv").write_text(log(20))
    ingest(workspace, tmp_path / "items.csv", tmp_path / "log.csv")
    return workspace.home / "recall"


def opened(workspace: Workspace, models: Path, recipe: str = "full") -> Recall:
    """What another command would recall with."""
    asking = Asking(model=models / "text.gguf", projector=models / "eyes.gguf", recipe=recipe)
    with Recommender(workspace, cast(workspace, asking)) as made:
        return made.recall.now()


def test_the_next_command_reads_no_log(
    workspace: Workspace, shelf: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(workspace, models).candidates(["i1", "i5"], 40)
    with monkeypatch.context() as patch:
        patch.setattr(current, "Recall", None)  # it must not be built
        assert opened(workspace, models).candidates(["i1", "i5"], 40) == first
    assert len(list(shelf.iterdir())) == 1


def test_every_change_is_seen(workspace: Workspace, shelf: Path, models: Path, tmp_path: Path) -> None:
    changes = [
        lambda: (tmp_path / "log.csv").write_text(log(21)),
        lambda: (tmp_path / "items.csv").write_text(ITEMS + "new,A new film about ships\n"),
        lambda: (tmp_path / "items.csv").write_text(ITEMS.replace("Film 3", "Movie 3")),
        lambda: workspace.execute("DELETE FROM interactions WHERE user_id = 'u3' AND item_id = 'i9'"),
        lambda: workspace.execute("UPDATE interactions SET timestamp = '2030-01-01T00:00:00' WHERE user_id = 'u2'"),
        lambda: workspace.execute("UPDATE items SET title = 'Ships' WHERE item_id = 'i2'"),
        lambda: workspace.execute(
            "INSERT INTO captions VALUES ('i2', 's', 'k', 'A red ship.', 'x', 'm', '2026-01-01')"
        ),
    ]  # fmt: skip
    seen = {histories.revision(workspace)}
    for number, change in enumerate(changes, start=2):
        opened(workspace, models)
        change()
        if number < 5:
            ingest(workspace, tmp_path / "items.csv", tmp_path / "log.csv")
        seen.add(histories.revision(workspace))
        assert len(seen) == number
        fresh = Recall.of_log(histories.log(workspace), histories.texts(workspace))
        history = ["i1", "i2", "i3"]
        assert opened(workspace, models).candidates(history, 99) == fresh.candidates(history, 99)
    ingest(workspace, tmp_path / "items.csv", tmp_path / "log.csv")
    assert len(list(shelf.iterdir())) == 1


def test_reading_the_same_files_again_changes_nothing(workspace: Workspace, shelf: Path, tmp_path: Path) -> None:
    before = histories.revision(workspace)
    ingest(workspace, tmp_path / "items.csv", tmp_path / "log.csv")
    assert histories.revision(workspace) == before


@pytest.mark.parametrize("harm", ["cut", "gone", "no items", "nonsense", "empty", "an archive"])
def test_a_broken_copy_is_made_anew(workspace: Workspace, shelf: Path, models: Path, harm: str) -> None:
    first = opened(workspace, models).candidates(["i1"], 9)
    (copy,) = shelf.iterdir()
    if harm == "cut":
        (copy / "follows.data.npy").write_bytes((copy / "follows.data.npy").read_bytes()[:-8])
    elif harm == "gone":
        (copy / "text.indptr.npy").unlink()
    elif harm in ("empty", "an archive"):
        (copy / "text.data.npy").write_bytes(b"" if harm == "empty" else b"PK\x03\x04 nonsense")
    elif harm == "no items":
        (copy / "items.json").write_text("{}")
    else:
        (copy / "by_user.indices.npy").write_bytes(b"\x93NUMPY nonsense")
    assert opened(workspace, models).candidates(["i1"], 9) == first
    assert kept.load(shelf, *copy.name.split("-")) is not None and len(list(shelf.iterdir())) == 1
    shutil.rmtree(shelf)
    assert opened(workspace, models).candidates(["i1"], 9) == first


def test_what_cannot_be_written_is_no_error(workspace: Workspace, shelf: Path, models: Path) -> None:
    shelf.write_text("a file stands here")
    assert opened(workspace, models).candidates(["i1"], 3)


def test_small_logs_are_not_kept(tmp_path: Path) -> None:
    recall = Recall(["a"], np.zeros(1, np.int32), np.zeros(1, np.int32), ["a"])
    kept.save(tmp_path / "recall", "s", "k", recall)
    assert not (tmp_path / "recall").exists() and kept.load(tmp_path / "recall", "s", "k") is None


def test_many_texts_are_kept_though_few_interactions_are(tmp_path: Path) -> None:
    texts = [" ".join(f"word{(n * m) % 997}" for m in range(1, 60)) for n in range(1, 5000)]
    one = np.zeros(1, np.int32)
    kept.save(tmp_path / "recall", "5" * 32, "a" * 32, Recall([f"i{n}" for n in range(len(texts))], one, one, texts))
    assert kept.load(tmp_path / "recall", "5" * 32, "a" * 32) is not None


def test_two_recipes_keep_tables_beside_each_other(
    workspace: Workspace, shelf: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = ("full", "no-image")  # with captions, and without
    first = [opened(workspace, models, one).candidates(["i1"], 9) for one in recipes]
    assert len(list(shelf.iterdir())) == 2
    with monkeypatch.context() as patch:
        patch.setattr(current, "Recall", None)  # it must not be built
        assert [opened(workspace, models, one).candidates(["i1"], 9) for one in recipes] == first
    (tmp_path / "log.csv").write_text(log(21))
    ingest(workspace, tmp_path / "items.csv", tmp_path / "log.csv")
    (shelf / ("0" * 32)).mkdir()  # as earlier releases named them
    opened(workspace, models)
    assert len(list(shelf.iterdir())) == 1  # those of what the workspace was before are gone


def test_of_many_recipes_the_last_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "WORTH", 0)
    recall = Recall(["a"], np.zeros(1, np.int32), np.zeros(1, np.int32), ["a"])
    for n in range(6):
        kept.save(tmp_path, "5" * 32, str(n) * 32, recall)
        os.utime(tmp_path / f"{'5' * 32}-{str(n) * 32}", (n, n))
    assert [n for n in range(6) if kept.load(tmp_path, "5" * 32, str(n) * 32)] == [2, 3, 4, 5]
