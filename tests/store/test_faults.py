"""What is wrong with a database is said in words of its own, and a transaction that fails hides nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from stock import ITEMS, catalogue

from msr_local.errors import WorkspaceError
from msr_local.store import workspace as module
from msr_local.store.catalogue import add_items
from msr_local.store.faults import said
from msr_local.store.workspace import Workspace


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    monkeypatch.setattr(module, "_ATTEMPTS", 2)


@contextlib.contextmanager
def another(path: Path) -> Iterator[sqlite3.Connection]:
    """What another program does with the file."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def damage(path: Path) -> None:
    """Write over all pages but the first."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))


@pytest.mark.parametrize("tables", [("bookmarks",), ("scores",), tuple(f"t{n}" for n in range(9))])
@pytest.mark.parametrize("ledger", [False, True])
def test_a_database_of_another_program_is_left_as_it_is(tmp_path, tables, ledger):
    path = tmp_path / "msr.db"
    with another(path) as theirs:
        for table in tables:
            theirs.execute(f"CREATE TABLE {table} (mine TEXT)")
        if ledger:  # another program that is made with sqlite-utils
            theirs.execute("CREATE TABLE _sqlite_migrations (id, migration_set, name, applied_at)")
            theirs.execute("INSERT INTO _sqlite_migrations VALUES (1, 'theirs', 'm001', 'now')")
    before = path.read_bytes()
    with pytest.raises(WorkspaceError, match=rf"another program .*{tables[0]}.*Next: move it away, or --home"):
        Workspace(tmp_path)
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == ["msr.db"]


def test_a_new_one_whose_making_was_killed_is_made_again(tmp_path):
    with another(tmp_path / "msr.db") as killed:
        killed.execute("PRAGMA journal_mode = WAL")
        killed.execute("CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set, name, applied_at)")
    with Workspace(tmp_path) as workspace:
        workspace.set_setting("kept", 1)


@pytest.mark.parametrize("damaged", [damage, lambda path: path.write_bytes(path.read_bytes()[:5000])])
def test_a_damaged_one_is_called_damaged(tmp_path, damaged):
    with Workspace(tmp_path) as workspace:
        add_items(workspace, ITEMS, catalogue(("a",), ("b",)))
    damaged(tmp_path / "msr.db")
    with pytest.raises((WorkspaceError, sqlite3.DatabaseError)) as raised, Workspace(tmp_path) as workspace:
        workspace.execute("SELECT * FROM items").fetchall()
    error = raised.value
    words = str(error) if isinstance(error, WorkspaceError) else said(error, tmp_path / "msr.db")
    assert words and "msr.db: the database is damaged" in words and "Next: a copy from before" in words


def test_a_locked_one_says_that_another_program_writes(tmp_path, impatient):
    with Workspace(tmp_path), another(tmp_path / "msr.db") as other:
        other.execute("BEGIN IMMEDIATE")
        with Workspace(tmp_path) as workspace:  # it can be read meanwhile
            with pytest.raises(sqlite3.OperationalError) as raised:
                workspace.set_setting("kept", 1)
            assert "another program is writing to it" in str(said(raised.value))
            assert not workspace.in_transaction and workspace.setting("kept") is None
            other.execute("ROLLBACK")
            workspace.set_setting("kept", 1)


def test_one_that_is_locked_for_readers_too(tmp_path, impatient):
    with another(tmp_path / "msr.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(WorkspaceError, match=r"msr\.db: another program is writing to it.*Next: try again"):
            Workspace(tmp_path)


def test_on_a_full_disk_nothing_is_half_written_and_all_goes_on_when_there_is_room(tmp_path):
    many = catalogue(*((f"i{n}", "A long title " * 9) for n in range(5000)))
    with Workspace(tmp_path) as workspace:
        pages = workspace.one("PRAGMA page_count")
        workspace.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(sqlite3.OperationalError) as raised:
            add_items(workspace, ITEMS, many)
        assert "the disk is full" in str(said(raised.value)) and "Next: free space" in str(said(raised.value))
        assert not workspace.in_transaction and workspace.one("SELECT count(*) FROM items") == 0
        workspace.execute("PRAGMA max_page_count = 1000000")
        assert add_items(workspace, ITEMS, many).new == 5000


@pytest.mark.parametrize("error", [sqlite3.IntegrityError("UNIQUE constraint failed"), sqlite3.ProgrammingError("x")])
def test_our_own_mistakes_are_not_blamed_on_the_disk(error):
    assert said(error) is None


def test_the_command_line_says_them_too(cli, shop, impatient, tmp_path):
    assert cli("ingest", *shop, "--no-captions").code == 0
    home = tmp_path / "home"
    with another(home / "msr.db") as other:
        other.execute("BEGIN IMMEDIATE")
        ran = cli("ingest", *shop, "--no-captions")
        assert ran.code == 1 and "another program is writing to it" in ran.err and "Next:" in ran.err
        assert cli("users", "--json").code == 0
    with Workspace(home) as workspace:
        content = (home / "msr.db").read_bytes()
        damage(home / "msr.db")
        assert workspace.check() != "ok"
        (home / "msr.db").write_bytes(content)
    damage(home / "msr.db")
    for command in (("users",), ("status",), ("items", "film"), ("recommend", "u1")):
        ran = cli(*command)
        assert ran.code == 1 and "the database is damaged" in ran.err and "bug" not in ran.err


# ---- transactions


class Cause(Exception):
    pass


@pytest.mark.parametrize("kind", ["snapshot", "write", "staging"])
def test_the_error_that_is_told_is_the_first_one(workspace, kind):
    with pytest.raises(Cause), getattr(workspace, kind)():
        workspace.one("SELECT count(*) FROM items")
        workspace.db.conn.execute("ROLLBACK")  # as SQLite itself does where the disk fails
        raise Cause
    assert not workspace.in_transaction
    workspace.set_setting("after", 1)
    with workspace.snapshot():
        assert workspace.setting("after") == 1


def test_a_write_whose_transaction_was_lost_says_so(workspace):
    with pytest.raises(sqlite3.OperationalError, match="no transaction is active"), workspace.write():
        workspace.set_setting("lost", 1)
        workspace.db.conn.execute("ROLLBACK")
    assert workspace.setting("lost") is None and not workspace.in_transaction


def test_a_snapshot_within_a_snapshot_is_a_part_of_it(workspace):
    workspace.set_setting("x", "old")
    with Workspace(workspace.home) as other, workspace.snapshot():
        assert workspace.setting("x") == "old"
        other.set_setting("x", "new")
        with workspace.snapshot():
            assert workspace.setting("x") == "old"
        with pytest.raises(Cause), workspace.snapshot():
            raise Cause
        assert workspace.in_transaction and workspace.setting("x") == "old"
    assert not workspace.in_transaction and workspace.setting("x") == "new"


def test_no_write_joins_a_snapshot(workspace):
    with pytest.raises(RuntimeError, match="a write inside a snapshot"), workspace.snapshot():
        workspace.setting("x")
        workspace.set_setting("x", 1)
    assert workspace.setting("x") is None and not workspace.in_transaction


def test_a_snapshot_within_a_write_sees_what_was_written_and_ends_nothing(workspace):
    with workspace.write():
        workspace.set_setting("x", 1)
        with workspace.snapshot():
            assert workspace.setting("x") == 1
        with Workspace(workspace.home) as other:
            assert other.setting("x") is None
    assert workspace.setting("x") == 1
