"""The engine in a child process: crashes, Ctrl-C, answers that nobody read, and errors that cross the pipe."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models
from samples import picture

from msr_local.engine.llama import process
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Prompt, Question, Text, Writing
from msr_local.errors import ContextOverflow, EngineCrashed, ModelError

PREFIX = [Text("<|im_start|>user\n", special=True), Text("This person likes quiet films. " * 8)]
TAIL = Text("<|im_end|>\n<|im_start|>assistant\n", special=True)
FILMS: list[Prompt] = [[Text(f"Film {i}"), TAIL] for i in range(5)]


@pytest.fixture(scope="module")
def engine(tiny: EngineConfig) -> Iterator[EngineProcess]:
    with EngineProcess(tiny) as opened:
        yield opened


def asks(engine: EngineProcess, suffixes: list[Prompt], **kwargs: Any) -> list[float]:
    return [answer.z for answer in engine.log_odds(PREFIX, suffixes, **kwargs)]


def count(engine: EngineProcess, text: str) -> int:
    return len(engine.token_ids([Text(text)]))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """A deadlock fails here and does not wait for ever."""

    def give_up(*_: object) -> None:
        raise AssertionError(f"not done after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- what is asked of a child is what is asked of a model


def test_the_child_and_the_process_itself_agree(tiny: EngineConfig, engine: EngineProcess) -> None:
    inside = LlamaEngine(tiny)
    assert [a.z for a in inside.log_odds(PREFIX, FILMS)] == asks(engine, FILMS)
    prompt = [*PREFIX, picture(1), TAIL]
    assert engine.token_ids(prompt) == inside.token_ids(prompt)
    assert (engine.facts, engine.can) == (inside.facts, inside.can)
    texts = ["Quiet films.", "Loud ones, and a picture or two.", "Quiet films."]
    ours, theirs = (dict(one.vectors(texts)) for one in (engine, inside))
    assert all((ours[place] == theirs[place]).all() for place in range(3))
    inside.close()


def test_native_code_prints_nothing(tiny: EngineConfig, capfd: pytest.CaptureFixture[str]) -> None:
    with EngineProcess(tiny) as engine:
        seen = Question("Be brief.", "", "Look: \ufffc", picture(3))
        ((place, made),) = engine.write([seen], Writing(max_tokens=2))
        assert (place, made.tokens) == (0, 2)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_imported_from_the_current_folder(
    tiny: EngineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "json", "pickle", "llama_cpp"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    with EngineProcess(tiny) as engine:
        assert count(engine, "a") == 1


def test_a_closed_engine_says_so(tiny: EngineConfig) -> None:
    engine = EngineProcess(tiny)
    left = engine.log_odds(PREFIX, FILMS)
    engine.close()
    engine.close()
    for again in (lambda: count(engine, "a"), lambda: engine.answers([])):
        with pytest.raises(RuntimeError, match="closed"):
            again()
    with pytest.raises(RuntimeError, match="given up"):
        next(left)


# ---- errors


def test_missing_adapter_and_missing_eyes_are_named(tiny: EngineConfig) -> None:
    with EngineProcess(replace(tiny, projector=None, adapters={})) as blind:
        with pytest.raises(ModelError, match="no projector"):
            blind.token_ids([picture(1), TAIL])
        with pytest.raises(ModelError, match="no projector"):
            list(blind.write([Question("", "", "\ufffc", picture(1))]))
        with pytest.raises(ModelError, match="'caption'"):
            list(blind.log_odds([], [[TAIL]], adapter="caption"))


@pytest.mark.parametrize("content", [b"", b"no model", b"GGUF\x03\0\0\0" + b"\xff" * 200, b"GGUF\x03\0\0\0"])
def test_a_broken_model_file_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        EngineProcess(EngineConfig(path))


def test_a_truncated_model_file_is_a_clear_error(tmp_path: Path, tiny: EngineConfig) -> None:
    path = tmp_path / "half.gguf"
    path.write_bytes(tiny.model.read_bytes()[:3_000_000])
    with pytest.raises((ModelError, EngineCrashed), match=r"half\.gguf"):
        EngineProcess(EngineConfig(path))


def test_a_missing_model_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        EngineProcess(EngineConfig(tmp_path / "none.gguf"))


def test_a_projector_for_another_model_is_a_clear_error(tmp_path: Path, tiny: EngineConfig) -> None:
    wrong = tiny_models.projector(tmp_path / "wrong.gguf", width=96)
    with pytest.raises((ModelError, EngineCrashed), match=r"wrong\.gguf|text\.gguf"):
        EngineProcess(replace(tiny, projector=wrong))


def test_an_adapter_for_another_model_is_a_clear_error(tmp_path: Path, tiny: EngineConfig) -> None:
    wrong = tiny_models.adapter(tmp_path / "wrong.gguf", width=96)
    with pytest.raises((ModelError, EngineCrashed), match=r"wrong\.gguf|text\.gguf"):
        EngineProcess(replace(tiny, adapters={"caption": wrong}))


def test_an_error_keeps_its_kind_and_says_where_in_the_child_it_was_raised(engine: EngineProcess) -> None:
    with pytest.raises(ContextOverflow) as caught:
        list(engine.log_odds([Text("word " * 2000)], [[TAIL]]))
    assert "decoder.py" in str(caught.value.__cause__)
    with pytest.raises(ValueError, match="end in text"):
        list(engine.log_odds(PREFIX, [[]]))
    assert asks(engine, FILMS)


# ---- a child that ends


def test_a_native_abort_is_an_error_and_not_the_end(tiny: EngineConfig, capfd: pytest.CaptureFixture[str]) -> None:
    with EngineProcess(tiny) as engine:
        before = asks(engine, FILMS)
        # Whatever ends the child natively looks like this from here.
        engine._child._child.send_signal(signal.SIGABRT)
        with pytest.raises(EngineCrashed, match=r"SIGABRT.*Next"):
            list(engine.log_odds(PREFIX, [[TAIL]]))
        assert asks(engine, FILMS) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGKILL, r"SIGKILL.*run out of memory"),
        (signal.SIGILL, r"SIGILL.*llama-cpp-python==\d+\.\d+\.\d+, with CMAKE_ARGS="),
    ],
)
def test_a_child_that_was_killed_between_calls_fails_one_call(
    engine: EngineProcess, number: signal.Signals, why: str
) -> None:
    before, ids = asks(engine, FILMS), engine.token_ids(PREFIX)
    os.kill(engine._child._child.pid, number)
    with pytest.raises(EngineCrashed, match=why):
        asks(engine, FILMS)
    assert asks(engine, FILMS) == before and engine.token_ids(PREFIX) == ids


def test_a_child_that_is_killed_while_it_answers_fails_that_call(engine: EngineProcess) -> None:
    before = asks(engine, FILMS)
    stream = engine.log_odds(PREFIX, FILMS * 200)
    next(stream)
    os.kill(engine._child._child.pid, signal.SIGKILL)
    with pytest.raises(EngineCrashed):
        list(stream)
    assert asks(engine, FILMS) == before
    with pytest.raises((RuntimeError, StopIteration)):
        next(stream)


# ---- Ctrl-C


class Pipes(SimpleNamespace):
    """`pickle`, of which the call number `at` of `load` or `dump` does something else and ends in Ctrl-C."""

    def __init__(self, at: int = 1, **instead: Callable[..., Any]) -> None:
        super().__init__(load=pickle.load, dump=pickle.dump, UnpicklingError=pickle.UnpicklingError)
        for name, call in instead.items():
            setattr(self, name, self._interrupted(name, call, at))

    @staticmethod
    def _interrupted(name: str, call: Callable[..., Any], at: int) -> Callable[..., Any]:
        calls = itertools.count(1)

        def called(*args: Any) -> Any:
            if next(calls) != at:
                return getattr(pickle, name)(*args)
            call(*args)
            raise KeyboardInterrupt

        return called


def part_of(stream: Any) -> None:
    stream.read(3)


def half_to(message: object, stream: Any) -> None:
    whole = pickle.dumps(message)
    stream.write(whole[: len(whole) // 2])
    stream.flush()


READING = {"before a message": lambda stream: None, "within a message": part_of, "after a message": pickle.load}
SENDING = {
    "before a request": lambda message, stream: None,
    "within a request": half_to,
    "before it is flushed": lambda message, stream: stream.write(pickle.dumps(message)[:20]),
    "after a request": pickle.dump,
}


def said(error: BaseException | None) -> str:
    """An error and all that it came of."""
    return "" if error is None else f"{error!r} {said(error.__cause__)} {said(error.__context__)}"


@pytest.mark.parametrize("when", READING)
@pytest.mark.parametrize("at", [1, 3, 6])  # the first item, one in the middle, and the end
def test_the_next_call_works_after_ctrl_c_while_waiting(
    engine: EngineProcess, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], when: str, at: int
) -> None:
    before, ids = asks(engine, FILMS), engine.token_ids(PREFIX)
    with monkeypatch.context() as patch:
        patch.setattr(process, "pickle", Pipes(at, load=READING[when]))
        with pytest.raises(KeyboardInterrupt) as caught:
            asks(engine, FILMS)
    assert "SIGKILL" not in said(caught.value)
    assert asks(engine, FILMS) == before and engine.token_ids(PREFIX) == ids
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("when", SENDING)
def test_the_next_call_works_after_ctrl_c_while_sending(
    engine: EngineProcess, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], when: str
) -> None:
    before, ids = asks(engine, FILMS), engine.token_ids(PREFIX)
    large = [Question("", "", "\ufffc", picture(seed, 300, 300)) for seed in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(process, "pickle", Pipes(dump=SENDING[when]))
        with pytest.raises(KeyboardInterrupt) as caught:
            list(engine.answers(large))
    assert "SIGKILL" not in said(caught.value)
    assert asks(engine, FILMS) == before and engine.token_ids(PREFIX) == ids
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_while_another_child_starts(engine: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    before = asks(engine, FILMS)
    engine._child.close()
    with monkeypatch.context() as patch:
        patch.setattr(process, "pickle", Pipes(load=READING["before a message"]))
        with pytest.raises(KeyboardInterrupt):
            asks(engine, FILMS)
    assert asks(engine, FILMS) == before


def test_ctrl_c_while_an_engine_starts_leaves_no_child(tiny: EngineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[process._Child] = []
    child = process._Child
    monkeypatch.setattr(process, "_Child", lambda subject: made.append(child(subject)) or made[-1])
    monkeypatch.setattr(process, "pickle", Pipes(load=READING["before a message"]))
    with pytest.raises(KeyboardInterrupt):
        EngineProcess(tiny)
    assert made[0]._child.returncode is not None


@pytest.mark.parametrize("delay", [0.02, 0.11, 0.2, 0.31, 0.4, 0.53])
def test_the_next_call_works_after_a_real_ctrl_c(engine: EngineProcess, delay: float) -> None:
    before = asks(engine, FILMS)
    large = [Question("", "", "\ufffc", picture(seed, 400, 400)) for seed in range(8)]
    timer = threading.Timer(delay, os.kill, [os.getpid(), signal.SIGINT])
    with at_most(60), pytest.raises(KeyboardInterrupt) as caught:
        timer.start()
        while True:  # a signal is never late
            asks(engine, FILMS * 20)
            list(engine.answers(large))
    timer.join()
    assert "SIGKILL" not in said(caught.value)
    assert asks(engine, FILMS) == before


# ---- answers that nobody read


def test_an_unread_stream_does_not_answer_the_next_request(engine: EngineProcess) -> None:
    suffixes: list[Prompt] = [[Text(f"Film {i}"), TAIL] for i in range(30)]
    z = asks(engine, [suffixes[7]])[0]
    next(engine.log_odds(PREFIX, suffixes))
    assert asks(engine, [suffixes[7]])[0] == pytest.approx(z, abs=0.02)


def test_a_stream_that_was_never_begun_does_not_either(engine: EngineProcess) -> None:
    z = asks(engine, FILMS)
    never = engine.log_odds(PREFIX, [[Text("Other"), TAIL]] * 3)
    assert asks(engine, FILMS) == z
    with pytest.raises(RuntimeError, match="given up"):
        next(never)


def test_an_answer_given_up_says_so(engine: EngineProcess) -> None:
    stream = engine.log_odds(PREFIX, [[Text(f"Film {i}"), TAIL] for i in range(30)])
    next(stream)
    engine.token_ids(PREFIX)
    with pytest.raises(RuntimeError, match="given up"):
        next(stream)


def test_an_error_nobody_read_is_not_the_next_answer(engine: EngineProcess) -> None:
    next(engine.log_odds(PREFIX, [[Text("short"), TAIL], [picture(1), TAIL], [Text("word " * 2000), TAIL]]))
    assert count(engine, "fine") == 1


def questions(number: int) -> list[Question]:
    """Questions that share nothing, so that each takes its time."""
    return [Question("", f"{n} " + "this person likes quiet films. " * 120, f"Film {n}?") for n in range(number)]


GIVEN_UP: dict[str, Callable[[EngineProcess], Iterator[Any]]] = {
    "answers": lambda engine: engine.answers(questions(200)),
    "write": lambda engine: engine.write(questions(200), Writing(max_tokens=4)),
    "vectors": lambda engine: engine.vectors(["a quiet film by the sea " * 40 + str(n) for n in range(2000)]),
}


@pytest.mark.parametrize("what", GIVEN_UP)
def test_an_answer_given_up_ends_at_its_next_item(
    engine: EngineProcess, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    before = asks(engine, FILMS)
    read: list[str] = []

    def load(stream: io.BufferedReader) -> Any:
        message = pickle.load(stream)
        read.append(message[1])
        return message

    monkeypatch.setattr(process, "pickle", SimpleNamespace(load=load, dump=pickle.dump, UnpicklingError=OSError))
    with at_most(60):
        next(GIVEN_UP[what](engine))
        assert asks(engine, FILMS) == before
    most = 2000 if what == "vectors" else 200
    assert read.count("item") < most / 2  # those of the answer that was given up, and five


def test_whoever_gives_up_can_ask_something_large(engine: EngineProcess) -> None:
    """The child is still writing when the request comes, and both pipes are full."""
    large = [Question("", "", f"\ufffc {n}?", picture(n, 900, 700)) for n in range(6)]  # 11 MB
    with at_most(120):
        z = [answer.z for answer in engine.answers(large)]
        for what in ("vectors", "answers"):
            left = GIVEN_UP[what](engine)
            next(left)
            time.sleep(0.3)  # the child fills its pipe
            assert [answer.z for answer in engine.answers(large)] == z
            next(engine.answers(large))  # given up as well
            with pytest.raises(RuntimeError, match="given up"):
                next(left)
        assert [answer.z for answer in engine.answers(large)] == z
