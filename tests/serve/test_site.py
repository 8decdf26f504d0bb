"""The site: its documents are those of the command line, its pages are safe, and nothing stops it for others."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from samples import Ran

pytest.importorskip("starlette", reason="the extra serve is not installed")

import httpx
from starlette.testclient import TestClient

from msr_local.engine.fake import FakeEngine
from msr_local.engine.types import Question
from msr_local.errors import ModelError
from msr_local.models.asking import Asking
from msr_local.serve.app import LOOPBACK, application
from msr_local.serve.desk import Desk, Left
from msr_local.serve.guard import LARGEST
from msr_local.store import histories
from msr_local.store.workspace import Workspace

MARKUP = "<script>alert('x')</script> [red] \x1b[31m & \"quoted\""


@pytest.fixture
def home(shop: tuple[Path, Path], cli: Callable[..., Ran], tmp_path: Path) -> Path:
    """A workspace with the small shop, and an item and a user whose names are markup."""
    items, interactions = shop
    items.write_text(items.read_text() + f'"a/b?c","{MARKUP.replace(chr(34), chr(34) * 2)}",x,\n', encoding="utf-8")
    interactions.write_text(interactions.read_text() + "odd/one?,i3,1000009999,5\n<b>,i4,1000009999,5\n")
    assert cli("ingest", items, interactions, "--no-captions").code == 0
    return tmp_path / "home"


class Slow:
    """A gate before each answer of the engine, which may be broken for a while."""

    def __init__(self) -> None:
        self.open, self.reached, self.broken = threading.Event(), threading.Event(), False
        self.asked, self.fault = 0, ModelError("the model is broken.")  # type: int, Exception
        self.open.set()

    def watch(self, question: Question) -> None:
        self.asked += 1
        self.reached.set()
        assert self.open.wait(20)
        if self.broken:
            raise self.fault


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def desk(home: Path, models: Path, slow: Slow) -> Iterator[Desk]:
    made = Desk(home, Asking(model=models / "text.gguf"), 4, lambda config: FakeEngine(watch=slow.watch))
    yield made
    slow.open.set()
    made.close()


@pytest.fixture
def client(home: Path, desk: Desk) -> TestClient:
    return TestClient(application(home, desk), base_url="http://localhost", raise_server_exceptions=False)


def test_documents_are_those_of_the_command_line(client: TestClient, cli: Callable[..., Ran]) -> None:
    assert client.get("/health").json() == {"status": "ok", "waiting": 0}
    assert client.get("/users?limit=3").json() == cli("users", "-n", "3", "--json").json
    assert client.get("/items?words=best&limit=4").json() == cli("items", "best", "-n", "4", "--json").json
    found = client.get("/recommend/u0?k=3").json()
    assert set(found) == {"user", "summary", "items", "model", "timing", "pictures"} and len(found["items"]) == 3
    told = client.get(f"/explain/u0/{found['items'][1]['item_id']}?k=3").json()
    assert told["item_id"] == found["items"][1]["item_id"] and told["evidence"]
    assert client.get("/explain/u0?k=3").json()["item_id"] == found["items"][0]["item_id"]


def test_anybody_is_recommended_to_and_nothing_is_stored(client: TestClient, home: Path) -> None:
    users = client.get("/users").json()
    asked = {"history": ["i3", "i4"], "k": 3, "where": "genres=Horror"}
    found = client.post("/recommend", json=asked).json()
    assert found["user"] is None and 0 < len(found["items"]) <= 3
    assert {one["item_id"] for one in found["items"]} <= {f"i{n}" for n in (0, 2, 6, 8, 10)}
    assert client.get("/users").json() == users
    alike = client.get("/similar/i3?k=2").json()
    assert len(alike["items"]) == 2 and client.get("/similar", params={"item": "a/b?c"}).status_code == 200
    for wrong in ({"history": "i3"}, {"k": 0}, {"k": "3"}, {"where": 1}, {"where": "("}, [], {"history": ["nothing"]}):
        answer = client.post("/recommend", json=wrong)
        assert answer.status_code in (400, 404) and answer.json()["error"]
    for much in ({"history": ["i3"] * 10_001}, {"where": "genres=Horror or " * 1000 + "genres=Horror"}):
        answer = client.post("/recommend", json=much)
        assert answer.status_code == 413 and "10,000 items at most" in answer.json()["error"]
    plain = client.post("/recommend", content=b"{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 400


def test_every_path_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.") and "/recommend/{user}" in described["paths"]
    for path, methods in described["paths"].items():
        for method, says in methods.items():
            assert says["summary"]
            answer = client.request(method, path.replace("{user}", "u0").replace("{item}", "i5"))
            assert answer.status_code in (200, 400), path


def test_ids_of_any_kind(client: TestClient) -> None:
    assert client.get("/recommend", params={"user": "odd/one?", "k": 2}).json()["user"] == "odd/one?"
    told = client.get("/explain", params={"user": "<b>", "item": "a/b?c"})
    assert told.json()["item_id"] == "a/b?c" and told.json()["user"] == "<b>"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/recommend/nobody", 404, "there is no user 'nobody'"),
        ("/explain/u0/nothing", 404, "there is no item 'nothing'"),
        ("/recommend/u0?k=0", 400, "k=0: a number from 1"),
        ("/recommend/u0?k=%C2%B2", 400, "a number from 1"),
        ("/users?limit=99999999999999999999", 400, "a number from 1"),
        ("/recommend", 400, "the parameter user is missing"),
        ("/picture?item=..%2F..%2Fetc%2Fpasswd", 404, "there is no picture"),
        ("/picture?item=i3'%20OR%201=1", 404, "there is no picture"),
        ("/nowhere", 404, ""),
    ],
)
def test_what_cannot_be_answered_is_told(client: TestClient, path: str, status: int, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status and words in answer.text


def test_pages_hold_no_markup_of_the_data(client: TestClient) -> None:
    pages = [
        client.get("/").text,
        client.get("/", params={"user": "<b>"}).text,
        client.get("/", params={"words": "<script>"}).text,
        client.get("/", params={"user": "<i>nobody"}).text,
        client.get("/explain/u1", headers={"accept": "text/html"}).text,
        client.get("/explain", params={"user": "<b>", "item": "a/b?c"}, headers={"accept": "text/html"}).text,
    ]
    for page in pages:
        assert page.startswith("<!doctype html>") and "<script" not in page and "<b>" not in page.split("<li>")[0]
        assert "\x1b" not in page and "<i>nobody" not in page
    assert "there is no user" in pages[3]
    links = re.findall(r'href="(/explain\?[^"]+)"', pages[1])
    assert links and client.get(html.unescape(links[0])).status_code == 200
    answer = client.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_pictures_are_served_by_item(client: TestClient) -> None:
    answer = client.get("/picture?item=i2")
    assert answer.headers["content-type"] == "image/png" and answer.content.startswith(b"\x89PNG")


def test_new_interactions_are_read_as_files_are(client: TestClient, home: Path) -> None:
    text = (
        "user_id,item_id,timestamp\nnew,i1,1000000000\nnew,i2,1000000001\nnew,nothing,1000000002\nnew,i1,1000000000\n"
    )
    answer = client.post("/interactions", content=text, headers={"content-type": "text/csv"})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["new"], found["duplicate"], found["rejected"]) == (2, 1, 1)
    assert found["rejects"][0]["line"] == 4 and "nothing" in found["rejects"][0]["reason"]
    wrong = client.post("/interactions", content=b"user,what\nu0,i3\n", headers={"content-type": "text/csv"})
    told = wrong.json()["error"]
    assert wrong.status_code == 400 and told.startswith("what was sent: found no column for item_id")
    assert "--map" not in told and told.endswith("Next: send rows with user_id and item_id, and with timestamp and "
                                                 "rating if they have any.")  # fmt: skip
    more = [{"user_id": "newer", "item_id": "i5", "timestamp": 1000000000}]
    assert client.post("/interactions", json=more).json()["new"] == 1
    with Workspace(home) as workspace:
        assert [step.item.item_id for step in histories.history(workspace, "new")] == ["i1", "i2"]
    assert "i1" not in {one["item_id"] for one in client.get("/recommend/new").json()["items"]}


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", ""])
def test_what_a_foreign_page_can_post_is_refused(client: TestClient, kind: str) -> None:
    """Browsers ask before they send other content types to a site that is not the page's own."""
    answer = client.post("/interactions", content=b"user_id,item_id\nu0,i9\n", headers={"content-type": kind})
    assert answer.status_code == 400 and "content type" in answer.json()["error"]


def test_too_large(client: TestClient) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(LARGEST // 1024 + 2):
            yield b"x" * 1024

    answer = client.post("/interactions", content=parts(), headers={"content-type": "text/csv"})
    assert answer.status_code == 413 and "bytes at most" in answer.json()["error"]


def test_other_names_and_missing_tokens_are_turned_away(home: Path, desk: Desk) -> None:
    site = application(home, desk, token="open sesame")
    client = TestClient(site, base_url="http://localhost")
    basic = base64.b64encode(b"anybody:open sesame").decode()
    for header, status in (
        ({}, 401), ({"authorization": "Bearer shut"}, 401), ({"authorization": "Bearer open sesame"}, 200),
        ({"authorization": f"Basic {basic}"}, 200), ({"authorization": "Basic %%%"}, 401),
    ):  # fmt: skip
        answer = client.get("/users", headers=header)
        assert answer.status_code == status and "sesame" not in answer.text
    site = application(home, desk, token="schlüssel")  # headers are bytes: curl sends them as UTF-8
    basic = base64.b64encode("anybody:schlüssel".encode()).decode()
    for told in ("Bearer schlüssel".encode(), f"Basic {basic}".encode()):
        found = TestClient(site, base_url="http://localhost").get("/users", headers={"authorization": told})
        assert found.status_code == 200
    stranger = TestClient(application(home, desk, hosts=LOOPBACK), base_url="http://evil.example")
    assert stranger.get("/users").status_code == 400


def test_a_full_line_is_told_and_all_others_are_answered(client: TestClient, slow: Slow) -> None:
    slow.open.clear()
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(client.get, "/recommend/u0?k=2")]
        assert slow.reached.wait(20)  # it is at work, and nobody waits
        asked += [pool.submit(client.get, f"/recommend/u{n % 6}?k=2") for n in range(11)]
        deadline = time.monotonic() + 20
        while sum(one.done() for one in asked) < 7 and time.monotonic() < deadline:
            time.sleep(0.05)
        slow.open.set()
        answers = [one.result() for one in asked]
    statuses = [one.status_code for one in answers]
    assert statuses.count(503) == 7 and statuses.count(200) == 5  # one at work, four in the line
    busy = next(one for one in answers if one.status_code == 503)
    assert busy.headers["retry-after"] and "too many" in busy.json()["error"]


def test_work_for_who_went_away_is_stopped_at_its_next_answer(desk: Desk, slow: Slow) -> None:
    async def left() -> bool:
        return slow.reached.is_set()

    slow.open.clear()
    with pytest.raises(Left):
        asyncio.run(desk.ask(lambda one: one.recommend("u0"), left))
    slow.open.set()
    assert asyncio.run(desk.ask(lambda one: one.workspace.home.name, _stays)) == "home"  # the next one's turn has come
    assert slow.asked <= 2  # of the summary and of eight candidates


async def _stays() -> bool:
    return False


async def _leaves() -> bool:
    return True


def test_who_left_the_line_takes_no_place_in_it(desk: Desk, slow: Slow) -> None:
    slow.open.clear()

    async def crowd() -> list[str]:
        asked = [asyncio.create_task(desk.ask(lambda one: one.recommend("u0", 2).user, _stays))]
        assert await asyncio.to_thread(slow.reached.wait, 20)  # it is at work, and nobody waits
        impatient = [desk.ask(lambda one: one.recommend("u1"), _leaves) for _ in range(4)]
        gone = await asyncio.gather(*impatient, return_exceptions=True)
        assert all(isinstance(one, Left) for one in gone) and desk.waiting == 0
        asked += [asyncio.create_task(desk.ask(lambda one: one.recommend("u2", 2).user, _stays)) for _ in range(4)]
        await asyncio.sleep(0)
        assert desk.waiting == 4
        slow.open.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(crowd()) == ["u0", *["u2"] * 4]


def test_a_fault_is_told_and_the_next_one_is_answered(client: TestClient, slow: Slow) -> None:
    slow.broken = True
    answer = client.get("/recommend/u2?k=2")
    assert answer.status_code == 500 and answer.json() == {"error": "the model is broken."}
    slow.fault = sqlite3.OperationalError("database is locked")  # what nobody foresaw has words too
    answer = client.get("/recommend/u2?k=2")
    told = answer.json()["error"]
    assert answer.status_code == 503 and "another program is writing to it" in told and "Next:" in told
    slow.broken = False
    assert client.get("/recommend/u2?k=2").status_code == 200


def test_a_fault_of_the_database_is_told_in_words(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    post = {"content": b"user_id,item_id\nu0,i9\n", "headers": {"content-type": "text/csv"}}
    assert client.post("/interactions", **post).json()["new"] == 1
    assert client.post("/interactions", **post).json() == {
        "new": 0, "changed": 0, "unchanged": 1, "duplicate": 0, "rejected": 0, "rejects": [],
    }  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(histories, "users", _raising(sqlite3.OperationalError("database is locked")))
        locked = client.get("/users")
        patch.setattr(histories, "users", _raising(sqlite3.DatabaseError("database disk image is malformed")))
        damaged = client.get("/users")
        patch.setattr(histories, "users", _raising(sqlite3.OperationalError("no such column: nothing")))
        unforeseen = client.get("/users")
    assert unforeseen.status_code == 500 and "no such column" in unforeseen.json()["error"]  # to come again is no use
    assert locked.status_code == 503 and "another program is writing to it" in locked.json()["error"]
    assert damaged.status_code == 503 and "Next: a copy from before" in damaged.json()["error"]
    assert client.get("/users").status_code == 200


def _raising(error: Exception) -> Callable[..., None]:
    def raise_it(*_: object) -> None:
        raise error

    return raise_it


# ---- the command


@pytest.fixture
def served(home: Path, models: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own: (process, address)."""
    options = ["--home", home, "serve", "--port", "0", "--model", models / "text.gguf"]
    command = [sys.executable, "-m", "msr_local", *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    address = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert address, line
    yield process, address[0]
    process.kill()
    process.communicate()


def test_one_engine_serves_many_and_ends_when_told(served: tuple[subprocess.Popen[str], str]) -> None:
    process, address = served
    with httpx.Client(base_url=address, timeout=60) as client:
        first = client.get("/recommend/u0?k=3")
        assert first.status_code == 200
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda n: httpx.get(f"{address}/recommend/u0?k=3", timeout=60), range(30)))
        assert {one.status_code for one in answers} == {200}
        assert {json.dumps(one.json()["items"]) for one in answers} == {json.dumps(first.json()["items"])}
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_who_goes_away_is_not_worked_for(served: tuple[subprocess.Popen[str], str], home: Path) -> None:
    """Ten items a user are asked about: an impatient client stops that, and what was answered is kept."""
    _, address = served
    with pytest.raises(httpx.TimeoutException):
        httpx.get(f"{address}/explain/u1", timeout=0.3)
    began = time.monotonic()
    assert httpx.get(f"{address}/health", timeout=20).json()["status"] == "ok"
    while httpx.get(f"{address}/health", timeout=20).json()["waiting"] and time.monotonic() - began < 20:
        time.sleep(0.1)
    assert httpx.get(f"{address}/recommend/u0?k=1", timeout=60).status_code == 200


def test_a_page_in_a_browser_needs_no_script(client: TestClient) -> None:
    page = client.get("/").text
    assert "viewport" in page and "prefers-color-scheme: dark" in page and "http://" not in page
    assert re.search(r"<label|aria-label", page)


def test_whoever_reads_the_address_can_connect_at_once(
    cli: Callable[..., Ran], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []

    def run(server: object, sockets: list[socket.socket]) -> None:
        """Nothing serves yet."""
        with socket.create_connection(sockets[0].getsockname(), timeout=5):
            reached.append("yes")

    monkeypatch.setattr("uvicorn.Server.run", run)
    assert cli("serve", "--port", "0").code == 0 and reached == ["yes"]


def test_an_open_address_needs_a_token(cli: Callable[..., Ran], home: Path) -> None:
    ran = cli("serve", "--host", "0.0.0.0")
    assert ran.code == 2 and "a --token is needed" in ran.err


def test_a_port_that_is_taken_is_an_error_before_the_model_is_loaded(
    cli: Callable[..., Ran], home: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"nothing")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = cli("serve", "--port", port, "--model", broken)
    assert ran.code == 1 and f"--port {port}: cannot listen there" in ran.err and "Next:" in ran.err


def test_a_server_that_gives_up_is_a_failure(
    cli: Callable[..., Ran], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the process by itself where the system refuses something; only a reader that left is none."""

    def give_up(*_: object) -> None:
        try:
            raise OSError(98, "Address already in use")
        except OSError:
            sys.exit(1)

    monkeypatch.setattr("uvicorn.Server.run", give_up)
    assert cli("serve", "--port", "0").code == 1


def test_what_is_wrong_with_the_model_is_told_at_once(cli: Callable[..., Ran], home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"nothing")
    ran = cli("serve", "--model", broken, "--port", "0")
    assert ran.code == 1 and "broken.gguf" in ran.err
