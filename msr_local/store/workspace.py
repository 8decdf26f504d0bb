"""One workspace: a folder with `msr.db`, the user's prompt overrides, models and adapters."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import sqlite_utils

from ..errors import WorkspaceError
from .faults import said
from .schema import migrations

_ATTEMPTS = 500  # to switch to WAL, 20 ms apart
_PATIENCE = 60.0  # seconds that a writer waits for another one
_LEDGER = "_sqlite_migrations"


class Workspace:
    """An open workspace. Use as a context manager; everything written is in SQLite when a method returns.

    One that cannot be written (its file, its folder, its disk) is opened to read: see `read_only`.

    Raises `WorkspaceError` when the folder cannot be made, when the file is no database, a damaged one or another
    program's, and when it was written by a newer release.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "msr.db"
        self._doing: Literal["", "read", "write"] = ""
        self._unwatched: tuple[int, int] | None = None
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._read_only = self.path.is_file() and not _writable(self.path)
            connection = self._connected()
        except (OSError, ValueError, sqlite3.Error) as error:
            raise WorkspaceError(f"{home}: cannot keep a workspace here ({error}). Next: --home DIR.") from error
        try:
            self._refuse_foreign(connection)
            if not self._read_only:
                _switch_to_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA cache_size = -200000")  # 200 MB at most: indexes of a million rows fit
            self.db = sqlite_utils.Database(connection, execute_plugins=False)
            self._migrate()
        except sqlite3.Error as error:
            connection.close()
            why = said(error, self.path) or f"{self.path}: cannot be used as a workspace ({error}). Next: --home DIR."
            raise WorkspaceError(why) from error
        except WorkspaceError:
            connection.close()
            raise

    @property
    def read_only(self) -> bool:
        """Whether it can be read but not written: `write` raises, and results that can be made again are not kept."""
        return self._read_only

    def _connected(self) -> sqlite3.Connection:
        if not self._read_only:
            return sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError:  # SQLite needs a file beside it, which cannot be made
            connection.close()
        except sqlite3.Error:  # said when it is read
            return connection
        else:
            return connection
        log = self.path.with_name("msr.db-wal")
        if log.exists() and log.stat().st_size:
            raise OSError(f"{log.name} holds changes, and only who may write here can read them; copy the folder")
        stat = self.path.stat()
        self._unwatched = stat.st_size, stat.st_mtime_ns
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)

    def _refuse_foreign(self, connection: sqlite3.Connection) -> None:
        """Raise `WorkspaceError` for the database of another program, before anything in it is touched."""
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        if _LEDGER in tables:
            ours = connection.execute(f"SELECT 1 FROM {_LEDGER} WHERE migration_set = ?", [migrations.name]).fetchone()
            tables = [] if ours else [name for name in tables if name != _LEDGER]
        if tables:
            raise WorkspaceError(
                f"{self.path}: this is a database of another program (its tables: {', '.join(tables[:5])}"
                f"{', …' if len(tables) > 5 else ''}). Next: move it away, or --home DIR."
            )

    def _migrate(self) -> None:
        known = {m.name for m in migrations._migrations}
        applied = {m.name for m in migrations.applied(self.db)}
        if applied - known:
            raise WorkspaceError(
                f"{self.path}: written by a newer msr-local (it knows {', '.join(sorted(applied - known))}). "
                "Next: upgrade msr-local."
            )
        if known - applied and self._read_only:
            raise WorkspaceError(
                f"{self.path}: {'written by an earlier msr-local' if applied else 'empty'}, and read-only, so it "
                "cannot be brought up to date. Next: copy its folder to where you can write, and --home DIR."
            )
        if known - applied:
            with self.write():  # takes the lock first: two processes may open a new workspace at once
                migrations.apply(self.db)

    @property
    def in_transaction(self) -> bool:
        """Whether this is inside `write` or `snapshot`."""
        return bool(self._doing)

    @contextlib.contextmanager
    def write(self) -> Iterator[None]:
        """One transaction, all or nothing; waits for other writers. One within another is a part of it.

        Raises `WorkspaceError` for a workspace that is read-only.
        """
        if self._doing == "write":
            yield
            return
        if self._doing:  # its reads may be out of date, and what it writes would be undone with them
            raise RuntimeError("a write inside a snapshot")
        self.require_writable()
        with self._transaction("write", "BEGIN IMMEDIATE"):
            yield

    def require_writable(self) -> None:
        """Raise `WorkspaceError` if this workspace is read-only: for long work, before it begins."""
        if self._read_only:
            raise WorkspaceError(
                f"{self.path}: read-only, so nothing can be changed or kept here. Next: check rights of file and "
                "folder, or --home DIR."
            )

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads of one state, whatever others write meanwhile. One within another is a part of it."""
        if self._doing:
            yield
            return
        with self._transaction("read", "BEGIN"):
            yield

    # Writes to temporary tables lock nobody out either.
    staging = snapshot

    @contextlib.contextmanager
    def _transaction(self, doing: Literal["read", "write"], begin: str) -> Iterator[None]:
        self.db.conn.execute(begin)
        self._doing = doing
        try:
            yield
            self.db.conn.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                self.db.conn.rollback()
            raise
        finally:
            self._doing = ""

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """No other writer is at work meanwhile; who cannot write here, and so not wait, sees what there is."""
        with contextlib.nullcontext() if self._read_only else self.write():
            yield

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Run one statement; on its own it is committed at once, inside `write` with the rest."""
        self._watch()
        return self.db.conn.execute(sql, parameters)

    def one(self, sql: str, parameters: Any = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.execute(sql, parameters).fetchone()
        return row[0] if row else None

    def check(self) -> str:
        """SQLite's own quick check: "ok", or what is wrong."""
        try:
            return str(self.one("PRAGMA quick_check"))
        except sqlite3.DatabaseError as error:
            return said(error) or str(error)

    def setting(self, name: str) -> Any:
        """A JSON value that was kept under `name`, or None."""
        value = self.one("SELECT value FROM settings WHERE name = ?", [name])
        return None if value is None else json.loads(value)

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a JSON value under `name`."""
        with self.write():
            self.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", [name, json.dumps(value)])

    def close(self) -> None:
        self.db.conn.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None:
            self._watch()

    def _watch(self) -> None:
        """Raise `WorkspaceError` if a file that SQLite takes for one that never changes was changed."""
        if self._unwatched:
            stat = self.path.stat()
            if self._unwatched != (stat.st_size, stat.st_mtime_ns):
                raise WorkspaceError(
                    f"{self.path}: changed by another program while it was read, so what was read may be wrong. "
                    "Next: the same command again."
                )


def _writable(path: Path) -> bool:
    """Whether a database can be written: the file, its logs, and the folder, where they are made."""
    logs = [log for name in ("-wal", "-shm") if (log := path.with_name(path.name + name)).exists()]
    return all(os.access(one, os.W_OK) for one in (path, path.parent, *logs))


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Turn on the write-ahead log. Two processes that open a new file at once may lock each other out of this,
    and SQLite's own timeout does not cover it."""
    for attempt in range(_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.02)


def now() -> str:
    """The time as the tables keep it: ISO-8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def fingerprint(*parts: object) -> str:
    """A short stable hash of JSON-able parts: the keys of all cached results."""
    data = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(data.encode()).hexdigest()[:32]


def versioned(kind: str, code: int) -> str:
    """What stands in a fingerprint for the code that makes results of a kind: keys of its first version stay valid."""
    return kind if code == 1 else f"{kind} {code}"
