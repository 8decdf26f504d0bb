"""The engine in a child process, behind the same protocol.

llama.cpp aborts on states that it does not expect. In a child, that costs one clear error instead of the
caller's process and terminal; its prints stay out of ours; and Ctrl-C never waits for a native call.
Parent and child speak pickle over two pipes: one request, then items, then an end. Requests have numbers, so that an
answer that was given up before its end is never taken for the next one: a `STOP` ends it at its next item.

This is no sandbox. The child has all rights of the user who runs it, and what it writes is unpickled: code that took
over llama.cpp by way of a model file would be this user's. Model files are to be trusted as programs are.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...arrays import Floats
from ...errors import EngineCrashed
from ..types import EngineConfig, Generation, LogOdds, ModelFacts, Prompt, Question, Rendered, Writing
from .chat import rendered, within
from .worker import STOP

# The child must find the same packages as we do, and nothing in the current folder.
_START = "import sys; sys.path[:] = sys.argv[1:]; from msr_local.engine.llama.worker import main; main()"
_PATIENCE = 5.0  # seconds that a child gets to end by itself
_HINTS = {
    "signal SIGKILL": " It may have run out of memory.",
    "signal SIGILL": " This processor refuses instructions that llama.cpp was compiled with, as some virtual machines "
    "do with AMX. Next: pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python=={}, with CMAKE_ARGS="
    "'-DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8'.",
}


class _Child:
    """The child process: requests go in, items come out. Raises `EngineCrashed` when it dies."""

    def __init__(self, subject: Path) -> None:
        self._subject = subject
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, *(os.path.abspath(path) for path in sys.path if path)],  # noqa: PTH100
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is ours to handle
            # OpenMP threads that spin at barriers starve each other when the machine is busy: give way early.
            env={"GOMP_SPINCOUNT": "1000", **os.environ},
        )
        self.gone = False  # it ended, or was ended in the middle of a message
        self._number = 0  # of the latest request
        self._answered = True  # whether its answer was read to the end

    def stream(self, method: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Ask; the items of the answer come as they are made, and end when a newer request is made."""
        if not self._answered:  # nobody read the answer before to its end, or it was never asked for
            stop = self._send(STOP)
            while self._read()[0] != stop:
                pass
        return self._items(self._send(method, *args, **kwargs))

    def _items(self, number: int) -> Iterator[Any]:
        while True:
            if number != self._number or self.gone:
                raise RuntimeError("this answer was given up when the engine was asked again")
            _, kind, value = self._read()
            if kind == "item":
                yield value
            elif kind == "error":
                error, trace = value
                raise error from _ChildTraceback(trace)
            else:
                return

    def _send(self, method: str, *args: Any, **kwargs: Any) -> int:
        """Send a request; its number."""
        assert self._child.stdin is not None
        self._number += 1
        self._answered = False
        with self._whole_messages():
            pickle.dump((self._number, method, args, kwargs), self._child.stdin)
            self._child.stdin.flush()
        return self._number

    def _read(self) -> tuple[int, str, Any]:
        """The next message: the number of the request that it answers, its kind, and what it holds."""
        assert self._child.stdout is not None
        with self._whole_messages():
            number, kind, value = pickle.load(self._child.stdout)
        self._answered = number == self._number and kind != "item"
        return number, kind, value

    @contextlib.contextmanager
    def _whole_messages(self) -> Iterator[None]:
        """A dead child is told of; after Ctrl-C in the middle of a message the rest would be misread, so it ends."""
        try:
            yield
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self._crash() from None
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Ask for a single item."""
        (value,) = list(self.stream(method, *args, **kwargs))
        return value

    def _crash(self) -> EngineCrashed:
        try:
            code = self._child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        self.close()
        said = next((line for line in lines if "GGML_ASSERT" in line or "abort" in line.lower()), "")
        hint = _HINTS.get(how, "").format(version("llama-cpp-python"))  # another release would not fit
        return EngineCrashed(
            f"the model process for {self._subject.name} ended ({how}).{hint} {said or ' '.join(lines[-1:])} "
            "Nothing that was stored is lost. Next: run the command again, or try another model."
        )

    def close(self) -> None:
        self.gone = True
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(OSError):  # a broken pipe on the last flush
                    stream.close()


class _ChildTraceback(Exception):
    """Where in the child an error was raised; the cause of the error as it arrives here."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


class EngineProcess:
    """A `TokenEngine` whose model lives in a child process.

    When that ended, by Ctrl-C or by itself, the next call starts another one.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._config, self._closed = config, False
        self._child = _Child(config.model)
        self.facts = self._start()
        self.can = self.facts.can

    def _start(self) -> ModelFacts:
        try:
            facts: ModelFacts = self._child.call("start", self._config)
        except BaseException:
            self._child.close()
            raise
        return facts

    def _alive(self) -> _Child:
        if self._closed:
            raise RuntimeError("this engine was closed")
        if self._child.gone:
            self._child = _Child(self._config.model)
            self._start()
        return self._child

    def fits(self, question: Question, room: int) -> bool:
        if within(self.rendered(question), room):
            return True
        fits: bool = self._alive().call("fits", question, room)
        return fits

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        return self._alive().stream("answers", questions)

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        return self._alive().stream("write", questions, how)

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        return self._alive().stream("vectors", texts)

    def rendered(self, question: Question) -> Rendered:
        return rendered(self.facts, question)

    def token_ids(self, prompt: Prompt) -> list[int]:
        ids: list[int] = self._alive().call("token_ids", prompt)
        return ids

    def log_odds(self, prefix: Prompt, suffixes: Sequence[Prompt], *, adapter: str | None = None) -> Iterator[LogOdds]:
        return self._alive().stream("log_odds", prefix, suffixes, adapter=adapter)

    def close(self) -> None:
        """End the child at once; it holds no state worth keeping."""
        self._closed = True
        self._child.close()

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def quantise_in_child(source: Path, target: Path, *, ftype: int) -> None:
    """Write a GGUF file again with the weight type `ftype` (a llama_ftype). Raises `ModelError`."""
    child = _Child(source)
    try:
        child.call("quantise", source, target, ftype=ftype)
    finally:
        child.close()
