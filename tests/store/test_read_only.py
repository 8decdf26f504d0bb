"""A workspace that cannot be written: it can be read, and nothing in it or beside it changes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from read_only import read_only
from stock import ITEMS, STEPS, catalogue, everything, steps

from msr_local.errors import WorkspaceError
from msr_local.models import registry
from msr_local.store import histories, results
from msr_local.store.catalogue import add_interactions, add_items
from msr_local.store.rows import Preference, Score
from msr_local.store.workspace import Workspace

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system knows other rights")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with Workspace(tmp_path / "shop") as workspace:
        add_items(workspace, ITEMS, catalogue(("a",), ("b",), ("c",)))
        add_interactions(workspace, STEPS, steps(("u", "a"), ("u", "b"), ("v", "c")))
        workspace.set_setting("kept", 1)
    return tmp_path / "shop"


@contextlib.contextmanager
def opened(home: Path) -> Iterator[Workspace]:
    with read_only(home), Workspace(home) as workspace:
        yield workspace


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_in_it_can_be_read_and_nothing_changes(home):
    with Workspace(home) as workspace:
        assert not workspace.read_only
        expected, counts = everything(workspace), histories.counts(workspace)
    before = content(home)
    with opened(home) as workspace:
        assert workspace.read_only
        assert everything(workspace) == expected and histories.counts(workspace) == counts
        assert workspace.setting("kept") == 1 and workspace.check() == "ok"
        with workspace.snapshot(), workspace.settled():
            assert histories.user_exists(workspace, "u")
        assert registry.list_adapters(workspace) == [] and not registry.exists(workspace, "mine")
    assert content(home) == before


def test_what_would_be_lost_is_refused_and_what_can_be_made_again_is_not_kept(home):
    before = content(home)
    with opened(home) as workspace:
        for change in (
            lambda: workspace.set_setting("kept", 2),
            lambda: add_items(workspace, ITEMS, catalogue(("d",))),
            lambda: results.save_list(workspace, "u", "s", "k", []),
            lambda: registry.activate(workspace, "none"),
            workspace.require_writable,
        ):
            with pytest.raises(WorkspaceError, match=r"msr\.db: read-only, .* Next: .*--home DIR"):
                change()
        results.save_score(workspace, "u", "s", Score("c", 1.0, 0.7, 0.9, "k"), "model")
        results.save_ranking(workspace, "u", "s", [("c", 0.5, 1.0)])
        results.save_preference(workspace, "u", "s", Preference(0, "likes a", None, None, ("a",), "k"), "model")
        results.keep_preferences(workspace, "u", "s", 0, 0)
        results.save_past_summary(workspace, "k", "likes a", "s")
        results.save_answer(workspace, "k", 1.0, 0.9, "s")
        results.save_vectors(workspace, {"k": np.ones(3, np.float32)})
        assert results.scores(workspace, "u", "s") == results.preferences(workspace, "u", "s") == {}
        assert results.answer(workspace, "k") is None and not results.vectors(workspace, ["k"])
    assert content(home) == before


def test_what_another_process_has_just_written_is_seen(home):
    with Workspace(home) as writer:
        writer.set_setting("kept", "in the log")
        assert (home / "msr.db-wal").stat().st_size
        with opened(home) as workspace:
            assert workspace.read_only and workspace.setting("kept") == "in the log"


def test_changes_that_only_a_writer_can_read_are_not_passed_over(home, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    with Workspace(home) as writer:
        writer.set_setting("kept", "in the log")
        for name in ("msr.db", "msr.db-wal"):  # a copy that forgot msr.db-shm
            shutil.copy(home / name, copy / name)
    with pytest.raises(WorkspaceError, match=r"msr.db-wal holds changes"), opened(copy):
        pass
    with Workspace(copy) as workspace:
        assert workspace.setting("kept") == "in the log"


def test_one_of_an_earlier_release_says_that_it_cannot_be_brought_up_to_date(home):
    with Workspace(home) as workspace, workspace.write():
        workspace.execute("DELETE FROM _sqlite_migrations WHERE name = 'm004_views'")
    with pytest.raises(WorkspaceError, match=r"earlier msr-local, and read-only.*Next: copy its folder"), opened(home):
        pass


def test_an_empty_one_and_none_at_all(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "msr.db").touch()
    (tmp_path / "none").mkdir()
    with pytest.raises(WorkspaceError, match="empty, and read-only"), opened(tmp_path / "empty"):
        pass
    with pytest.raises(WorkspaceError, match=r"cannot keep a workspace here.*Next: --home"), opened(tmp_path / "none"):
        pass


def test_a_change_by_others_meanwhile_is_told(home):
    with read_only(home):
        reader = Workspace(home)
    told = pytest.raises(WorkspaceError, match=r"changed by another program while it was read.*Next: the same command")
    with told, reader:
        assert reader.setting("kept") == 1
        with Workspace(home) as writer:
            writer.set_setting("kept", 2)
    with pytest.raises(WorkspaceError, match="changed by another program"):
        reader._watch()  # as each statement of a long process does


@pytest.mark.parametrize("name", ["my shop", "a?b#c%20", "Läden", "tab\there", os.fsdecode(b"caf\xe9")])
def test_a_folder_of_any_name(home, tmp_path, name):
    other = home.rename(tmp_path / name)
    with opened(other) as workspace:
        assert workspace.read_only and workspace.setting("kept") == 1
    with Workspace(other) as workspace:
        assert not workspace.read_only and workspace.setting("kept") == 1


def test_a_damaged_one_says_so(home):
    (home / "msr.db").write_bytes(b"dear diary, " * 500)
    with pytest.raises(WorkspaceError, match=r"not a database.*move the file away"), opened(home):
        pass
