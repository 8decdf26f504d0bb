"""A model behind a server, a scripted one: what is asked, what is read, and every fault."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures
from samples import Ran

from msr_local.engine.remote import RemoteEngine, plain
from msr_local.engine.types import API_KEY, IMAGE_MARK, Image, Question, ServerConfig
from msr_local.errors import AnswerTokensError, ContextOverflow, ModelError

openai = pytest.importorskip("openai")
SECRET = "sk-very-secret"


class Scripted(BaseHTTPRequestHandler):
    """Answers as its server's `answer` says: (status, document), after `pause` seconds; a text is a web page."""

    def do_GET(self) -> None:
        names = self.server.names
        listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in names or ()]}
        self._send(*((404, {}) if names is None else (200, listed)))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(asked)
            self.server.keys.append(self.headers["Authorization"])
            number = len(self.server.asked)
        time.sleep(self.server.pause)
        self._send(*self.server.answer(number, asked))

    def _send(self, status: int, document: Any) -> None:
        page = isinstance(document, str)
        body = (document if page else json.dumps(document)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if page else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Scripted)
        self.names, self.asked, self.keys, self.pause, self.lock = ["tiny"], [], [], 0.0, threading.Lock()
        self.answer = lambda number, asked: (200, said("Yes", yes=0.7, no=0.2))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def engine(server: Server) -> Iterator[RemoteEngine]:
    made = RemoteEngine(ServerConfig(server.url, sees=True, timeout=5.0, retries=3))
    yield made
    made.close()


def said(text: str, *, finish: str = "stop", **shares: float) -> dict[str, Any]:
    """A server's answer, with the probabilities of some tokens if there are any."""
    top = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in shares.items()]
    logprobs = {"content": [{**top[0], "top_logprobs": top}]} if top else None
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "tiny", "choices": [choice]}


def ask(own: str = "Tea?", **more: Any) -> Question:
    return Question("Answer Yes or No.", "Likes tea.", own, **more)


def test_log_odds_are_read_from_all_spellings(server: Server, engine: RemoteEngine) -> None:
    shares = {"Yes": 0.5, " yes": 0.1, "YES": 0.05, "No": 0.2, " no": 0.05, "Perhaps": 0.05}
    server.answer = lambda number, asked: (200, said("Yes", **shares))
    (found,) = engine.answers([ask()])
    assert found.z == pytest.approx(math.log(0.65 / 0.25)) and found.coverage == pytest.approx(0.9)
    assert found.top == "Yes" and engine.can.log_odds == "top"
    assert server.asked[-1]["top_logprobs"] == 20 and server.asked[-1]["temperature"] == 0.0


def test_what_is_not_among_the_most_probable_is_bounded_and_told(server: Server, engine: RemoteEngine) -> None:
    server.answer = lambda number, asked: (200, said("Yes", Yes=0.6, Perhaps=0.3, Sure=0.01))
    (found,) = engine.answers([ask()])
    assert found.z == pytest.approx(math.log(0.6 / 0.01)) and found.coverage == pytest.approx(0.6)
    server.answer = lambda number, asked: (200, said("Well", Well=0.6, Perhaps=0.3))
    (found,) = engine.answers([ask()])
    assert (found.z, found.coverage, found.top) == (0.0, 0.0, "Well")


def test_a_server_without_probabilities_writes_and_says_that_it_cannot_score(
    server: Server, engine: RemoteEngine
) -> None:
    server.answer = lambda number, asked: (200, said("A red mug."))
    assert engine.can.log_odds == "none"
    with pytest.raises(AnswerTokensError, match=r"reports no probabilities.*Captions and summaries work.*Next"):
        list(engine.answers([ask()]))
    assert [made.text for _, made in engine.write([ask()])] == ["A red mug."]


def test_answers_come_in_order_and_side_by_side(server: Server, engine: RemoteEngine) -> None:
    server.pause = 0.3

    def answer(number: int, asked: Any) -> tuple[int, Any]:
        place = int(asked["messages"][1]["content"].rsplit(" ", 1)[-1])
        return 200, said("Yes", Yes=(1 + place) / 40, No=0.1)

    _ = engine.can
    server.answer = answer
    began = time.monotonic()
    found = [one.z for one in engine.answers([ask(f"Number {n}") for n in range(12)])]
    assert found == pytest.approx([math.log((1 + n) / 4) for n in range(12)])
    assert time.monotonic() - began < 0.3 * 12  # one after the other


def test_a_picture_goes_as_a_data_url_where_its_mark_stands(server: Server, engine: RemoteEngine) -> None:
    pixels = bytes(range(36))
    list(engine.answers([ask(f"Seen: {IMAGE_MARK} Will they?", image=Image(4, 3, pixels, "x"))]))
    parts = server.asked[-1]["messages"][1]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text"]
    head, data = parts[1]["image_url"]["url"].split(",")
    picture = Pictures.open(io.BytesIO(base64.b64decode(data)))
    assert head == "data:image/png;base64" and (picture.size, picture.tobytes()) == ((4, 3), pixels)


def test_the_opening_is_asked_for_and_taken_off(server: Server, engine: RemoteEngine) -> None:
    texts = iter(["This person likes tea.", "tea and mugs.", "this person likes"])
    server.answer = lambda number, asked: (200, said(next(texts), finish="length"))
    questions = [ask(opening="This person likes")]
    found = [next(engine.write(questions))[1] for _ in range(3)]
    assert [one.text for one in found] == [" tea.", " tea and mugs.", ""]
    assert not found[0].ended and 'Begin with "This person likes".' in server.asked[0]["messages"][1]["content"]


@given(st.text() | st.sampled_from(["<|im_end|>", "</s>", "<start_of_turn>", "[INST]", "[/INST]", "[TOOL_CALLS]"]))
def test_nothing_that_is_sent_looks_like_chat_markup(text: str) -> None:
    sent = plain(f"before {text} after")
    assert not set("<>") & set(sent)
    assert "[INST]" not in sent and "[/INST]" not in sent and "[TOOL_CALLS]" not in sent


# ---- faults


def test_a_busy_server_is_asked_again(server: Server, engine: RemoteEngine) -> None:
    _ = engine.can
    before = len(server.asked)

    def answer(number: int, asked: Any) -> tuple[int, Any]:
        busy = number - before <= 2
        return (503, {"error": {"message": "loading"}}) if busy else (200, said("Yes", Yes=0.5, No=0.5))

    server.answer = answer
    assert [one.z for one in engine.answers([ask()])] == [0.0]


@pytest.mark.parametrize(
    ("status", "message", "kind", "words"),
    [
        (401, "bad key", ModelError, f"refuses the key.*{API_KEY}"),
        (404, "no such thing", ModelError, "status 404"),
        (400, "the request exceeds the available context size", ContextOverflow, "longer than"),
        (400, "bad field", ModelError, "status 400"),
    ],
)
def test_what_a_server_refuses_is_told_without_the_key(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: int, message: str, kind: type[Exception], words: str
) -> None:
    monkeypatch.setenv(API_KEY, SECRET)
    engine = RemoteEngine(ServerConfig(server.url, retries=0))
    server.answer = lambda number, asked: (status, {"error": {"message": f"{message} {SECRET}"}})
    with pytest.raises(kind, match=words) as caught:
        list(engine.write([ask()]))
    assert server.keys == [f"Bearer {SECRET}"]
    assert SECRET not in str(caught.value) + repr(engine.config) and caught.value.__cause__ is None
    engine.close()


def test_before_an_over_long_question_all_texts_are_finished(server: Server, engine: RemoteEngine) -> None:
    """The first question without a text is the over-long one, however slow the others are."""

    def answer(number: int, asked: Any) -> tuple[int, Any]:
        if "Essay" in str(asked):
            return 400, {"error": {"message": "the request exceeds the available context size"}}
        time.sleep(0.2)
        return 200, said("Short.")

    server.answer, made = answer, set()
    with pytest.raises(ContextOverflow):
        for place, _ in engine.write([ask(), ask(), ask("Essay"), ask()]):
            made.add(place)
    assert made == {0, 1, 3}


def put(document: Any, path: list[str | int], value: Any) -> Any:
    """A copy of `document` with `value` at `path`."""
    if not path:
        return value
    copied = document.copy()
    copied[path[0]] = put(document[path[0]], path[1:], value)
    return copied


PLACES: list[list[str | int]] = [
    [], ["choices"], ["choices", 0], ["choices", 0, "message"], ["choices", 0, "message", "content"],
    ["choices", 0, "logprobs"], ["choices", 0, "logprobs", "content"], ["choices", 0, "logprobs", "content", 0],
    ["choices", 0, "logprobs", "content", 0, "top_logprobs"],
    ["choices", 0, "logprobs", "content", 0, "top_logprobs", 1],
    ["choices", 0, "logprobs", "content", 0, "top_logprobs", 1, "logprob"],
    ["choices", 0, "logprobs", "content", 0, "top_logprobs", 1, "token"],
]  # fmt: skip
ODD = [None, [], {}, "", "<html>", "data: [DONE]\n\n", 0, True, -9999.0, math.nan, math.inf, -math.inf, [None], [{}]]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[-1] if place else "answer")
def test_an_answer_of_another_shape_is_read_or_refused(
    server: Server, engine: RemoteEngine, place: list[str | int]
) -> None:
    """A web page, a stream, null and NaN where there should be something else: numbers or our error, never a crash."""
    _ = engine.can
    for value in ODD:
        answer = put(said("Yes", Yes=0.6, No=0.3), place, value)
        server.answer = lambda number, asked, answer=answer: (200, answer)
        try:
            (found,) = engine.answers([ask()])
            assert math.isfinite(found.z) and 0 <= found.coverage <= 1
        except ModelError as error:
            assert "Next:" in str(error)
        try:
            list(engine.write([ask()]))
        except ModelError as error:
            assert "Next:" in str(error)


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("top_logprobs must be at most 5", lambda asked: asked.get("top_logprobs", 0) > 5),
        ("extra inputs are not permitted: chat_template_kwargs", lambda asked: "chat_template_kwargs" in asked),
        ("System role not supported", lambda asked: asked["messages"][0]["role"] == "system"),
        ("Conversation roles must alternate", lambda asked: len(asked["messages"]) > 1),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_what_a_server_does_not_take_is_left_out(
    server: Server, engine: RemoteEngine, words: str, refused: Callable[[Any], bool], status: int
) -> None:
    server.answer = lambda number, asked: (
        (status, {"detail": words}) if refused(asked) else (200, said("Yes", Yes=0.6, No=0.3))
    )
    found = list(engine.answers([ask(str(number)) for number in range(8)]))
    assert [one.z for one in found] == pytest.approx([math.log(2)] * 8)
    text = json.dumps(server.asked[-1]["messages"])
    assert "Answer Yes or No." in text and "Likes tea." in text
    assert len(server.asked) <= 1 + 1 + 8 + 4  # the one to try, and again; those on their way at most once more


def test_a_server_that_refuses_probabilities_still_writes(server: Server, engine: RemoteEngine) -> None:
    words = {"error": {"message": "logprobs is not supported"}}
    server.answer = lambda number, asked: (400, words) if "logprobs" in asked else (200, said("A red mug."))
    assert engine.can.log_odds == "none"
    assert [made.text for _, made in engine.write([ask()])] == ["A red mug."]


def test_thoughts_are_declined_and_taken_off(server: Server, engine: RemoteEngine) -> None:
    texts = iter(["<think>\nRed?\n</think>\n\nA red mug.", "<think>\nthey never end", "A <think> mug"])
    server.answer = lambda number, asked: (200, said(next(texts)))
    assert [next(engine.write([ask()]))[1].text for _ in range(3)] == ["A red mug.", "", "A <think> mug"]
    assert server.asked[0]["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_server_without_a_list_of_models_is_asked_by_name(server: Server) -> None:
    server.names = None
    with contextlib.closing(RemoteEngine(ServerConfig(server.url, "org/model:7b"))) as engine:
        assert len(list(engine.answers([ask()]))) == 1 and server.asked[-1]["model"] == "org/model:7b"
    unnamed = RemoteEngine(ServerConfig(server.url))
    with pytest.raises(ModelError, match=r"status 404.*Next: check the name of the model, and the address"):
        _ = unnamed.model
    unnamed.close()


def test_a_server_that_takes_no_pictures(server: Server, engine: RemoteEngine) -> None:
    words = {"error": {"message": "image input is not supported\x1b[31m by this model"}}
    server.answer = lambda number, asked: (400, words)
    with pytest.raises(ModelError, match=r"not supported \[31m by this model\. Next: .*--mmproj none"):
        list(engine.write([ask(IMAGE_MARK, image=Image(1, 1, b"\0\0\0", "x"))]))


def test_nobody_waits_for_answers_that_nobody_wants(server: Server) -> None:
    engine = RemoteEngine(ServerConfig(server.url))
    _ = engine.can
    server.pause = 30.0
    began = time.monotonic()
    with contextlib.closing(engine), pytest.raises(KeyboardInterrupt):
        interrupt = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
        interrupt.start()
        list(engine.answers([ask()]))
    assert time.monotonic() - began < 5


def test_without_the_package_it_is_said_what_to_install(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    engine = RemoteEngine(ServerConfig(server.url))
    for ask_it in (lambda: engine.can, lambda: list(engine.answers([ask()])), lambda: list(engine.write([ask()]))):
        with pytest.raises(ModelError, match=r"Next: pip install 'msr-local\[remote\]'"):
            ask_it()
    engine.close()


def test_nobody_there(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        engine = RemoteEngine(ServerConfig(f"http://127.0.0.1:{free.getsockname()[1]}/v1", retries=0))
        with pytest.raises(ModelError, match=r"the server 127.0.0.1:\d+ cannot be reached.*Next: start it"):
            _ = engine.can
    slow = RemoteEngine(ServerConfig(server.url, timeout=0.2, retries=0))
    server.pause = 1.0
    with pytest.raises(ModelError, match="did not answer in time"):
        _ = slow.can


def test_a_wrong_name_is_told_with_the_right_ones(server: Server) -> None:
    server.names = ["qwen", "gemma"]
    with pytest.raises(ModelError, match=r"no model 'tiny', but qwen, gemma"):
        _ = RemoteEngine(ServerConfig(server.url, "tiny")).model
    with pytest.raises(ModelError, match=r"several models, qwen, gemma\. Next: .*#NAME"):  # one may be for embeddings
        _ = RemoteEngine(ServerConfig(server.url)).model
    server.names = [f"m{number}" for number in range(300)]
    with pytest.raises(ModelError, match="m7 and 292 more"):
        _ = RemoteEngine(ServerConfig(server.url, "tiny")).model
    server.names = []
    with pytest.raises(ModelError, match="names no model"):
        _ = RemoteEngine(ServerConfig(server.url)).model


def test_who_stops_reading_stops_the_asking(server: Server) -> None:
    engine = RemoteEngine(ServerConfig(server.url, together=1))
    _ = engine.can
    server.pause = 0.05
    asked = len(server.asked)
    answers = engine.answers([ask(str(n)) for n in range(40)])
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    engine.close()
    assert len(server.asked) - asked <= 4


def test_what_fits_is_a_bound(engine: RemoteEngine) -> None:
    assert engine.fits(ask("short"), 200) and not engine.fits(ask("word " * 2000), 2000)
    assert not engine.fits(ask(image=Image(1, 1, b"\0\0\0", "x")), 500)
    with pytest.raises(ModelError, match="no vectors"):
        engine.vectors(["tea"])


# ---- as a model of the workspace


def test_a_server_recommends_and_captions(
    server: Server, shop: tuple[Path, Path], cli: Callable[..., Ran], tmp_path: Path
) -> None:
    """Captions, summaries and lists by way of the command line; the key is nowhere in the workspace."""
    words = {"describe what the picture shows": "A red mug.", "likes": "tea and mugs."}

    def answer(number: int, asked: Any) -> tuple[int, Any]:
        if asked.get("logprobs"):
            return 200, said("Yes", Yes=0.6, No=0.3)
        text = json.dumps(asked["messages"]).lower()
        return 200, said(next(word for about, word in words.items() if about in text))

    server.answer = answer
    model = ("--model", f"{server.url}#tiny")
    assert cli("ingest", *shop, *model).code == 0
    found = cli("recommend", "u0", "-k", "3", *model, "--json")
    assert found.code == 0, found.err
    assert found.json["model"]["file"] == f"{server.url}#tiny" and "tea and mugs" in found.json["summary"]
    assert found.json["items"][0]["log_odds"] == pytest.approx(math.log(2)) and found.json["items"][0]["caption"]
    asked = len(server.asked)
    assert cli("recommend", "u0", "-k", "3", *model, "--json").json["items"] == found.json["items"]
    assert len(server.asked) == asked
    assert cli("recommend", "u1", *model, "--adapter", "general").code == 1
    assert cli("models", "use", f"{server.url}#tiny").code == 1
    assert cli("models", "verify", *model, "--json").json["z"] == pytest.approx(math.log(2))
    checks = {one["check"]: one["detail"] for one in cli("doctor", *model, "--json").json}
    assert server.url in checks["server"] and "90%" in checks["answer"]
    server.answer = lambda number, asked: (200, said("Yes"))
    for command in (("doctor",), ("models", "verify"), ("recommend", "u1")):
        ran = cli(*command, *model)
        assert ran.code == 1 and "reports no probabilities" in " ".join((ran.out + ran.err).split())


def test_the_key_is_nowhere_in_the_workspace(
    server: Server, shop: tuple[Path, Path], cli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY, SECRET)
    cli("ingest", *shop, "--no-captions")
    ran = cli("recommend", "u0", "--recipe", "history", "--model", server.url, "--mmproj", "none", "--json")
    assert ran.code == 0 and set(server.keys) == {f"Bearer {SECRET}"}
    assert SECRET not in ran.out + ran.err
    assert all(SECRET.encode() not in path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
