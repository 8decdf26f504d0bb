import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.errors import WorkspaceError
from msr_local.store.schema import migrations
from msr_local.store.workspace import Workspace, fingerprint, now

TABLES = {
    "items", "interactions", "low_ratings", "images", "rejects", "settings", "captions", "preferences",
    "scores",
}  # fmt: skip
VIEWS = {"item_descriptions", "user_timeline", "recommendations"}


def schema(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    finally:
        connection.close()


def test_a_new_workspace_has_every_table_and_view(tmp_path):
    with Workspace(tmp_path / "deep" / "home") as workspace:
        assert workspace.path == tmp_path / "deep" / "home" / "msr.db"
        assert set(workspace.db.table_names()) >= TABLES
        assert set(workspace.db.view_names()) == VIEWS
        assert [m.name for m in migrations.applied(workspace.db)] == [m.name for m in migrations._migrations]


def test_an_empty_database_file_becomes_a_workspace(tmp_path):
    (tmp_path / "msr.db").touch()
    with Workspace(tmp_path) as workspace:
        assert set(workspace.db.table_names()) >= TABLES


def test_opening_a_migrated_file_again_changes_nothing(tmp_path):
    with Workspace(tmp_path) as workspace:
        workspace.set_setting("kept", 1)
        applied = [(m.name, m.applied_at) for m in migrations.applied(workspace.db)]
    first = schema(tmp_path / "msr.db")
    with Workspace(tmp_path) as workspace:
        assert workspace.setting("kept") == 1
        assert [(m.name, m.applied_at) for m in migrations.applied(workspace.db)] == applied
        assert not workspace.db.conn.in_transaction
    assert schema(tmp_path / "msr.db") == first


def test_a_file_of_an_earlier_release_gets_the_missing_migrations_only(tmp_path):
    with Workspace(tmp_path) as workspace:
        workspace.set_setting("kept", 1)
        expected = schema(tmp_path / "msr.db")
        for view in VIEWS:
            workspace.db[view].drop()
        workspace.db["_sqlite_migrations"].delete_where("name = ?", ["m004_views"])
    assert schema(tmp_path / "msr.db") != expected
    with Workspace(tmp_path) as workspace:
        assert workspace.setting("kept") == 1
    assert schema(tmp_path / "msr.db") == expected


def test_a_failing_migration_leaves_no_half_made_tables(tmp_path):
    (tmp_path / "msr.db").touch()
    connection = sqlite3.connect(tmp_path / "msr.db")
    connection.execute("CREATE TABLE scores (mine TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(WorkspaceError, match="scores"):
        Workspace(tmp_path)
    assert {name for name, _ in schema(tmp_path / "msr.db")} <= {
        "scores",
        "_sqlite_migrations",
        "sqlite_autoindex__sqlite_migrations_1",
        "idx__sqlite_migrations_migration_set_name",
    }


def test_a_file_of_a_newer_release_is_refused_and_left_alone(tmp_path):
    with Workspace(tmp_path) as workspace, workspace.write():
        workspace.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('msr_local', 'm999_later', ?)",
            [now()],
        )
    before = schema(tmp_path / "msr.db")
    with pytest.raises(WorkspaceError, match=r"newer msr-local \(it knows m999_later\).*Next: upgrade"):
        Workspace(tmp_path)
    assert schema(tmp_path / "msr.db") == before


def test_processes_that_migrate_one_workspace_at_once_all_succeed(tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom msr_local.store.workspace import Workspace\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    with Workspace(Path(line.strip())) as workspace:\n"
        "        workspace.set_setting(sys.argv[1], True)\n"
        "    print('done', flush=True)\n"
    )
    homes = [tmp_path / str(turn) for turn in range(15)]
    for home in homes:
        home.mkdir()
        connection = sqlite3.connect(home / "msr.db")  # no tables yet, but a WAL already
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    pair = [
        subprocess.Popen([sys.executable, "-c", script, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    try:
        for process in pair:
            assert process.stdout.readline() == "ready\n"
        for home in homes:
            for process in pair:
                process.stdin.write(f"{home}\n")
            for process in pair:
                process.stdin.flush()
            assert [process.stdout.readline() for process in pair] == ["done\n", "done\n"]
            with Workspace(home) as workspace:
                assert (workspace.setting("a"), workspace.setting("b")) == (True, True)
                assert len(list(migrations.applied(workspace.db))) == len(migrations._migrations)
    finally:
        for process in pair:
            process.communicate()


def test_a_transaction_that_fails_leaves_nothing(workspace):
    workspace.set_setting("before", 1)
    with pytest.raises(ZeroDivisionError), workspace.write():
        workspace.set_setting("inside", 1)
        workspace.execute("INSERT INTO items (item_id, title) VALUES ('i', 't')")
        raise ZeroDivisionError
    assert not workspace.db.conn.in_transaction
    assert workspace.setting("before") == 1
    assert workspace.setting("inside") is None
    assert workspace.one("SELECT count(*) FROM items") == 0


def test_an_interrupt_rolls_back_too(workspace):
    with pytest.raises(KeyboardInterrupt), workspace.write():
        workspace.set_setting("inside", 1)
        raise KeyboardInterrupt
    assert workspace.setting("inside") is None
    workspace.set_setting("after", 1)
    assert workspace.setting("after") == 1


def test_a_transaction_within_a_transaction_is_part_of_it(workspace):
    with pytest.raises(ZeroDivisionError), workspace.write():
        with workspace.write():
            workspace.set_setting("inner", 1)
        assert workspace.db.conn.in_transaction
        raise ZeroDivisionError
    assert workspace.setting("inner") is None


def test_what_is_written_is_seen_by_another_connection_at_once(workspace):
    workspace.set_setting("x", [1])
    with Workspace(workspace.home) as other:
        assert other.setting("x") == [1]


def test_readers_see_the_old_state_while_another_writes(workspace):
    workspace.set_setting("x", "old")
    with Workspace(workspace.home) as other, workspace.write():
        workspace.set_setting("x", "new")
        assert other.setting("x") == "old"


def test_a_writer_waits_for_another_writer(workspace):
    began, results = threading.Event(), []

    def write() -> None:
        with Workspace(workspace.home) as other:
            began.set()
            other.set_setting("second", True)
            results.append(other.setting("first"))

    with workspace.write():
        thread = threading.Thread(target=write)
        thread.start()
        assert began.wait(10)
        workspace.set_setting("first", True)
    thread.join(10)
    assert results == [True]
    assert workspace.setting("second") is True


def test_foreign_keys_are_enforced_and_the_journal_is_a_wal(workspace):
    assert workspace.one("PRAGMA foreign_keys") == 1
    assert workspace.one("PRAGMA journal_mode") == "wal"
    with pytest.raises(sqlite3.IntegrityError), workspace.write():
        workspace.execute("INSERT INTO interactions (user_id, item_id) VALUES ('u', 'no such item')")
    assert workspace.one("SELECT count(*) FROM interactions") == 0


def test_a_home_that_is_a_file_is_a_workspace_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(WorkspaceError, match=r"cannot keep a workspace here .*Next: --home DIR"):
            Workspace(home)
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_database_that_is_a_folder_is_a_workspace_error(tmp_path):
    (tmp_path / "msr.db").mkdir()
    with pytest.raises(WorkspaceError, match="Next: --home DIR"):
        Workspace(tmp_path)


def test_a_file_that_is_no_database_is_a_workspace_error_and_stays_as_it_is(tmp_path):
    (tmp_path / "msr.db").write_bytes(b"dear diary, " * 500)
    with pytest.raises(WorkspaceError, match=r"msr\.db: cannot be used as a workspace .*move the file away"):
        Workspace(tmp_path)
    assert (tmp_path / "msr.db").read_bytes() == b"dear diary, " * 500


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_a_workspace_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        for home in (tmp_path, tmp_path / "below"):
            with pytest.raises(WorkspaceError, match="Next: --home DIR"):
                Workspace(home)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that even root cannot write")
def test_a_folder_that_cannot_be_written_is_a_workspace_error():
    for home in (Path("/proc/self"), Path("/proc/self/below")):
        with pytest.raises(WorkspaceError, match="Next: --home DIR"):
            Workspace(home)


@pytest.mark.parametrize("value", [None, False, 0, 1.5, "", "Zoë 🎬\x00", [], {"a": [1, {"b": None}]}])
def test_a_setting_comes_back_as_it_was(tmp_path, value):
    with Workspace(tmp_path) as workspace:
        workspace.set_setting("name", "something else")
        workspace.set_setting("name", value)
        workspace.set_setting("other", 7)
    with Workspace(tmp_path) as workspace:
        assert workspace.setting("name") == value
        assert workspace.setting("other") == 7


def test_a_setting_never_made_is_none(workspace):
    assert workspace.setting("nothing") is None


def test_times_are_utc_and_sort_as_text():
    times = [now() for _ in range(50)]
    assert times == sorted(times)
    assert all(len(time) == len("2001-09-09T01:46:40.000000+00:00") and time.endswith("+00:00") for time in times)


def test_a_fingerprint_stays_the_same_between_releases():
    assert fingerprint("text", 1, 2.5, None, True, ["é", {"b": 1, "a": 2}]) == "4c2b0e9b6120637544e70fb884b9075a"


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text('ab,"[]é', max_size=3),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(plain, max_size=4), st.lists(plain, max_size=4))
def test_only_equal_parts_have_equal_fingerprints(one, other):
    assert len(fingerprint(*one)) == 32
    assert (fingerprint(*one) == fingerprint(*other)) == (repr(one) == repr(other))
