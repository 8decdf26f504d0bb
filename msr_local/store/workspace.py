"""One workspace: a folder with `msr.db`, the user's prompt overrides, models and adapters."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlite_utils

from ..errors import WorkspaceError
from .schema import migrations

_ATTEMPTS = 500  # to switch to WAL, 20 ms apart


class Workspace:
    """An open workspace. Use as a context manager; everything written is in SQLite when a method returns.

    Raises `WorkspaceError` when the folder cannot be written, or the file is no database, or was written
    by a newer release.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "msr.db"
        try:
            home.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise WorkspaceError(f"{home}: cannot keep a workspace here ({error}). Next: --home DIR.") from error
        try:
            _switch_to_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA cache_size = -200000")  # 200 MB at most: indexes of a million rows fit
            self.db = sqlite_utils.Database(connection, execute_plugins=False)
            self._migrate()
        except sqlite3.Error as error:
            connection.close()
            raise WorkspaceError(
                f"{self.path}: cannot be used as a workspace ({error}). Next: "
                + ("move the file away" if "not a database" in str(error) else "check its rights")
                + ", or --home DIR."
            ) from error
        except WorkspaceError:
            connection.close()
            raise

    def _migrate(self) -> None:
        known = {m.name for m in migrations._migrations}
        applied = {m.name for m in migrations.applied(self.db)}
        if applied - known:
            raise WorkspaceError(
                f"{self.path}: written by a newer msr-local (it knows {', '.join(sorted(applied - known))}). "
                "Next: upgrade msr-local."
            )
        if known - applied:
            with self.write():  # takes the lock first: two processes may open a new workspace at once
                migrations.apply(self.db)

    @property
    def in_transaction(self) -> bool:
        """Whether this is inside `write` or `snapshot`."""
        return bool(self.db.conn.in_transaction)

    @contextlib.contextmanager
    def write(self) -> Iterator[None]:
        """One transaction, all or nothing; waits for other writers."""
        if self.in_transaction:
            yield
            return
        self.db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.conn.execute("COMMIT")
        except BaseException:
            self.db.conn.rollback()
            raise

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Run one statement; on its own it is committed at once, inside `write` with the rest."""
        return self.db.conn.execute(sql, parameters)

    def one(self, sql: str, parameters: Any = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.execute(sql, parameters).fetchone()
        return row[0] if row else None

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads of one state, whatever others write meanwhile."""
        if self.in_transaction:
            yield
            return
        self.db.conn.execute("BEGIN")
        try:
            yield
        finally:
            self.db.conn.execute("COMMIT")

    # Writes to temporary tables lock nobody out either.
    staging = snapshot

    def check(self) -> str:
        """SQLite's own quick check: "ok", or what is wrong."""
        return str(self.one("PRAGMA quick_check"))

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

    def __exit__(self, *_: object) -> None:
        self.close()


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
