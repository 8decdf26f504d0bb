"""`msr-local serve` under load with faults: whether all answers are right, and all errors have words.

Clients ask without a pause, in rounds of a minute. A round begins with new interactions; when these are answered, the
right answers to its questions are made from a copy of the workspace, by an engine of their own and undisturbed. Then
the clients ask the site. In each round the engine's process is killed once. In one, the database is locked for ten
seconds while interactions are sent; in another, the disk is full for as long (the workspace stands on a small file
system of its own, where the machine lets anybody mount one: Linux with user namespaces). Some clients go away before
they are answered.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from msr_local.catalogue.ingest import ingest
from msr_local.engine.llama.process import quantise_in_child
from msr_local.models.asking import Asking
from msr_local.models.choice import cast
from msr_local.recipe.recommender import Recommender
from msr_local.recipe.similar import similar
from msr_local.store.workspace import Workspace

from .record import made_with

CLIENTS = 5
HELD = 10.0  # seconds of a fault
_Q8_0 = 7  # llama_ftype: with quantised weights an answer is the same to the bit, whoever asks beside it
_POSTS, _ROWS = 4, 20  # of new interactions in a round
_PATIENCE = 120.0  # seconds for an answer


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what is right: a document without its timing, or a status."""

    method: str
    path: str
    given: Any = None
    right: Any = None
    status: int = 200


@dataclass(slots=True)
class Tally:
    """What came back."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)  # by their words
    wrong: list[str] = field(default_factory=list)
    posted: dict[str, bool] = field(default_factory=dict)  # user -> whether the site said that the rows are in
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def unanswered(self, asked: Asked, error: Exception) -> None:
        """Nothing came back: each is one too many."""
        with self.lock:
            self.counts["unanswered"] += 1
            self.wrong.append(f"{asked.path}: {type(error).__name__} {error}")

    def answered(self, asked: Asked, status: int, text: str) -> None:
        """Judge an answer to a question of a round."""
        with self.lock:
            self.counts["requests"] += 1
            try:
                document = json.loads(text)
            except ValueError:
                document = None
            if status != asked.status:
                self._error(asked, status, document)
            elif status == 200 and _plain(document) != asked.right:
                found = str(_plain(document))[:300]
                self.wrong.append(f"{asked.path} {asked.given}: {found}, not {str(asked.right)[:300]}")
            else:
                self.counts["right"] += 1
                self.counts["without words"] += status != 200 and not _words(document)

    def _error(self, asked: Asked, status: int, document: Any) -> None:
        if not _words(document) or status == 200:
            self.counts["without words"] += 1
            self.wrong.append(f"{asked.path}: {status} {str(document)[:200]}")
        else:
            self.errors[f"{status}: {_kind(document['error'])}"] += 1


def _words(document: Any) -> bool:
    error = document.get("error") if isinstance(document, dict) else None
    return isinstance(error, str) and len(error.split()) > 2 and "Traceback" not in error


def _kind(error: str) -> str:
    """An error without what is different each time."""
    return re.sub(r"\S*/\S*", "…", error)[:110]


def _plain(document: Any) -> Any:
    """An answer without what is not part of the list: seconds, hashes of models."""
    if not isinstance(document, dict):
        return document
    return {key: document[key] for key in ("user", "summary", "items", "item_id") if key in document}


# ---- the site


class Site:
    """The command `serve` on the workspace `home`, in a process of its own."""

    def __init__(self, home: Path, model: Path, log: Path) -> None:
        self.home, self.log = home, log.open("w", encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "msr_local",
            "--home",
            str(home),
            "serve",
            "--port",
            "0",
            "--model",
            str(model),
        ]
        self.process = subprocess.Popen(command, stderr=self.log, start_new_session=True)
        self.address = self._address(log)

    def _address(self, log: Path) -> str:
        until = time.monotonic() + 180
        while time.monotonic() < until and self.process.poll() is None:
            if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text(encoding="utf-8")):
                return found[0]
            time.sleep(0.1)
        raise RuntimeError(f"the site does not start: {log.read_text(encoding='utf-8')[-2000:]}")

    def kill_engine(self) -> bool:
        """Kill the engine's process as `kill -9` does; False where there is none at the moment."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                with contextlib.suppress(OSError):
                    if "engine.llama.worker" in Path(f"/proc/{child}/cmdline").read_text():
                        os.kill(int(child), signal.SIGKILL)
                        return True
        return False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Another process writes."""
        db = sqlite3.connect(self.home / "msr.db", timeout=60, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            db.execute("ROLLBACK")
            db.close()

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """There is no room left on the disk, nor in the log that SQLite has made room for."""
        with contextlib.closing(sqlite3.connect(self.home / "msr.db", timeout=60)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        filler = self.home / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass
        try:
            yield
        finally:
            filler.unlink()

    def close(self) -> bool:
        """End it as a person would; whether it went well."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            return False
        finally:
            self.log.close()


def own_disk(folder: Path, command: Sequence[str]) -> list[str]:
    """`command` in a process for which `folder` is a small file system of its own; [] where that may not be made."""
    apart = [
        "unshare",
        "-Urm",
        "sh",
        "-c",
        'mount -t tmpfs -o size=512m none "$1" && shift && exec "$@"',
        "sh",
        str(folder),
    ]
    try:
        may = subprocess.run([*apart, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return []
    return [*apart, *command] if may else []


# ---- a round


def questions(home: Path, copy: Path, model: Path, rng: random.Random, count: int) -> list[Asked]:
    """What is asked in a round, with the right answers."""
    copy.mkdir()
    source, target = (sqlite3.connect(folder / "msr.db") for folder in (home, copy))
    with contextlib.closing(source), contextlib.closing(target):
        source.backup(target)
    found: list[Asked] = []
    with Workspace(copy) as workspace, Recommender(workspace, cast(workspace, Asking(model=model))) as recommender:
        ids = [row[0] for row in workspace.execute("SELECT item_id FROM items ORDER BY 1")]
        users = [row[0] for row in workspace.execute("SELECT DISTINCT user_id FROM interactions ORDER BY 1")]
        for n in range(count):
            if n % 2:
                history, k = rng.sample(ids, rng.randint(1, 4)), rng.randint(1, 5)
                where = rng.choice([None, "kind=red", "kind=blue"])
                only = {i for i in ids if where is None or (int(i[1:]) % 2 == 0) == (where == "kind=red")}
                right = recommender.recommend(recommender.stranger(history), k, only=only if where else None).to_json()
                found.append(Asked("POST", "/recommend", {"history": history, "k": k, "where": where}, _plain(right)))
            else:
                user, k = rng.choice(users), rng.randint(1, 5)
                right = recommender.recommend(user, k, 12).to_json()
                found.append(Asked("GET", f"/recommend/{user}?k={k}&candidates=12", None, _plain(right)))
        item = rng.choice(ids)
        found.append(Asked("GET", f"/similar/{item}?k=3", None, _plain(similar(recommender, item, 3).to_json())))
    found += [Asked("GET", "/recommend/nobody", status=404), Asked("GET", "/recommend/u1?k=0", status=400),
              Asked("POST", "/recommend", {"where": "("}, status=400)]  # fmt: skip
    shutil.rmtree(copy)
    return found


def _client(site: Site, asked: Sequence[Asked], rng: random.Random, until: float, tally: Tally) -> None:
    with httpx.Client(base_url=site.address, timeout=_PATIENCE) as client:
        while time.monotonic() < until:
            one = rng.choice(asked)
            leaves = rng.random() < 0.05
            try:
                answer = client.request(one.method, one.path, json=one.given, timeout=0.2 if leaves else _PATIENCE)
                tally.answered(one, answer.status_code, answer.text)
            except httpx.HTTPError as error:
                if leaves and isinstance(error, httpx.TimeoutException):
                    tally.count("went away")
                else:
                    tally.unanswered(one, error)


def _post(site: Site, user: str, items: Sequence[str], tally: Tally) -> None:
    body = "user_id,item_id,timestamp\n" + "".join(f"{user},{one},{1_700_000_000 + n}\n" for n, one in enumerate(items))
    asked = Asked("POST", "/interactions", right={}, status=200)
    kind = {"content-type": "text/csv"}
    try:
        answer = httpx.post(f"{site.address}/interactions", content=body, headers=kind, timeout=_PATIENCE)
    except httpx.HTTPError as error:
        tally.unanswered(asked, error)
        return
    tally.posted[user] = answer.status_code == 200
    tally.answered(asked, answer.status_code, answer.text)


def _round(
    site: Site, number: int, model: Path, folder: Path, seconds: float, fault: str, several: int,
    rng: random.Random, tally: Tally,
) -> None:  # fmt: skip
    ids = [f"i{n}" for n in range(60)]
    held = {"locked": site.locked, "full": site.full}.get(fault, contextlib.nullcontext)
    meanwhile = [Asked("GET", f"/recommend/u{n}?k=1&candidates=4") for n in range(4 if fault else 0)]
    with ThreadPoolExecutor(_POSTS + len(meanwhile)) as pool:
        with held():
            posts = [pool.submit(_post, site, f"w{number}-{n}", rng.sample(ids, _ROWS), tally) for n in range(_POSTS)]
            posts += [pool.submit(_ask, site, one, tally) for one in meanwhile]
            time.sleep(HELD if fault else 0.0)
        for post in posts:
            post.result()
    if fault:
        tally.count(f"times {fault}")
    asked = questions(site.home, folder / f"copy{number}", model, rng, several)
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(CLIENTS) as pool:
        seeds = [random.Random(rng.random()) for _ in range(CLIENTS)]
        clients = [pool.submit(_client, site, asked, seed, until, tally) for seed in seeds]
        time.sleep(rng.uniform(0.2, 0.7) * seconds)
        tally.counts["engine killed"] += site.kill_engine()
        for client in clients:
            client.result()


def _ask(site: Site, one: Asked, tally: Tally) -> None:
    """Ask while the disk is full or the database is locked: an answer is right then, and so is an error with words."""
    try:
        answer = httpx.request(one.method, site.address + one.path, timeout=_PATIENCE)
    except httpx.HTTPError as error:
        tally.unanswered(one, error)
        return
    if answer.status_code == 200:
        tally.count("answered meanwhile")
    else:
        tally.answered(one, answer.status_code, answer.text)


def _after(site: Site, tally: Tally) -> None:
    """Whether the database is sound and has the rows that were said to be in it, each once, and none by halves."""
    with contextlib.closing(sqlite3.connect(site.home / "msr.db")) as db:
        tally.counts["unsound"] += db.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
        for user, said in tally.posted.items():
            rows = db.execute("SELECT count(*) FROM interactions WHERE user_id = ?", [user]).fetchone()[0]
            tally.counts["rows posted"] += _ROWS * said
            tally.counts["rows lost"] += (_ROWS - rows) * said if rows < _ROWS else 0
            tally.counts["rows doubled"] += max(0, rows - _ROWS)
            tally.counts["half a post"] += rows not in (0, _ROWS)


def start(folder: Path, home: Path) -> Path:
    """Make the workspace `home` with a small shop; the tiny model that answers in it."""
    import tiny_models

    plain, model = folder / "plain.gguf", folder / "model.gguf"
    tiny_models.text_model(plain)
    quantise_in_child(plain, model, ftype=_Q8_0)
    items = "item_id,title,kind\n" + "".join(f"i{n},Film {n},{'blue' if n % 2 else 'red'}\n" for n in range(60))
    log = "user_id,item_id,timestamp\n" + "".join(
        f"u{user},i{(user * 7 + step * step) % 60},{1_600_000_000 + 1000 * step}\n"
        for user in range(24)
        for step in range(5)
    )
    (folder / "items.csv").write_text(items)
    (folder / "log.csv").write_text(log)
    with Workspace(home) as workspace:
        ingest(workspace, folder / "items.csv", folder / "log.csv")
    return model


def measure(minutes: float, seed: int, folder: Path, disk: Path | None = None, several: int = 10) -> dict[str, Any]:
    """The results. The disk is filled only if `disk`, a folder, is a small file system of its own.

    A round takes a minute, or less where that would not make three of them; in each, `several` lists are asked for.
    """
    home = (disk or folder) / "home"
    model = start(folder, home)
    seconds = min(60.0, 60.0 * minutes / 3)
    rng, tally = random.Random(seed), Tally()
    site = Site(home, model, folder / "serve.log")
    began = time.monotonic()
    try:
        for number in range(max(3, round(60 * minutes / seconds))):
            fault = {1: "locked", 2: "full" if disk else ""}.get(number, "")
            _round(site, number, model, folder, seconds, fault, several, rng, tally)
        _after(site, tally)
    finally:
        ended_well = site.close()
    counts = dict(sorted(tally.counts.items()))
    return {
        **made_with(seed), "minutes": round((time.monotonic() - began) / 60, 1), "clients": CLIENTS, **counts,
        "wrong": len(tally.wrong), "ended well": ended_well, "errors": dict(tally.errors), "examples": tally.wrong[:10],
    }  # fmt: skip
