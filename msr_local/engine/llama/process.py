"""The engine in a child process, behind the same protocol.

llama.cpp aborts on states that it does not expect. In a child, that costs one clear error instead of the
caller's process and terminal; its prints stay out of ours; and Ctrl-C never waits for a native call.
Parent and child speak pickle over two pipes: one request, then items, then an end.
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
from pathlib import Path
from typing import Any

from ...arrays import Floats
from ...errors import EngineCrashed
from ..types import EngineConfig, Generation, LogOdds, ModelFacts, Prompt

# The child must find the same packages as we do, and nothing in the current folder.
_START = "import sys; sys.path[:] = sys.argv[1:]; from msr_local.engine.llama.worker import main; main()"
_PATIENCE = 5.0  # seconds that a child gets to end by itself


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
        self._request = 0  # the latest one
        self._answered = True  # whether its answer was read to the end

    def stream(self, method: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Ask; the items of the answer come as they are made, and end when a newer request is made."""
        while not self._answered:  # nobody read the answer before: its items must not answer this request
            self._read()
        assert self._child.stdin is not None
        try:
            pickle.dump((method, args, kwargs), self._child.stdin)
            self._child.stdin.flush()
        except OSError:
            raise self._crash() from None
        self._request += 1
        self._answered = False
        return self._items(self._request)

    def _items(self, request: int) -> Iterator[Any]:
        while True:
            if request != self._request:
                raise RuntimeError("this answer was given up when the engine was asked again")
            kind, value = self._read()
            if kind == "item":
                yield value
            elif kind == "error":
                error, trace = value
                raise error from _ChildTraceback(trace)
            else:
                return

    def _read(self) -> tuple[str, Any]:
        assert self._child.stdout is not None
        try:
            kind, value = pickle.load(self._child.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self._crash() from None
        except BaseException:  # Ctrl-C in the middle of a message: the rest of it would be misread
            self._child.kill()
            raise
        self._answered = kind != "item"
        return kind, value

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Ask for a single item."""
        (value,) = list(self.stream(method, *args, **kwargs))
        return value

    def _crash(self) -> EngineCrashed:
        self._answered = True
        try:
            code = self._child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        said = next((line for line in lines if "GGML_ASSERT" in line or "abort" in line.lower()), "")
        hint = " It may have run out of memory." if how == "signal SIGKILL" else ""
        return EngineCrashed(
            f"the model process for {self._subject.name} ended ({how}).{hint} {said or ' '.join(lines[-1:])} "
            "Nothing that was stored is lost. Next: run the command again, or try another model."
        )

    def close(self) -> None:
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
    """An `Engine` whose model lives in a child process."""

    def __init__(self, config: EngineConfig) -> None:
        self._child = _Child(config.model)
        try:
            self.facts: ModelFacts = self._child.call("start", config)
        except BaseException:
            self.close()
            raise

    def count_tokens(self, prompt: Prompt) -> int:
        """See `Engine`."""
        count: int = self._child.call("count_tokens", prompt)
        return count

    def token_ids(self, prompt: Prompt) -> list[int]:
        """See `Engine`."""
        ids: list[int] = self._child.call("token_ids", prompt)
        return ids

    def log_odds(self, prefix: Prompt, suffixes: Sequence[Prompt], *, adapter: str | None = None) -> Iterator[LogOdds]:
        """See `Engine`."""
        return self._child.stream("log_odds", prefix, suffixes, adapter=adapter)

    def generate(
        self,
        prefix: Prompt,
        suffix: Prompt,
        *,
        adapter: str | None = None,
        max_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        repeat_penalty: float = 1.0,
        said: str = "",
    ) -> Generation:
        """See `Engine`."""
        generation: Generation = self._child.call(
            "generate",
            prefix,
            suffix,
            adapter=adapter,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            repeat_penalty=repeat_penalty,
            said=said,
        )
        return generation

    def generate_many(
        self,
        prefix: Prompt,
        suffixes: Sequence[Prompt],
        *,
        adapter: str | None = None,
        max_tokens: int = 128,
        repeat_penalty: float = 1.0,
        said: Sequence[str] = (),
    ) -> Iterator[tuple[int, Generation]]:
        """See `Engine`."""
        return self._child.stream(
            "generate_many", prefix, suffixes, adapter=adapter, max_tokens=max_tokens, repeat_penalty=repeat_penalty,
            said=said,
        )  # fmt: skip

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        """See `Engine`."""
        return self._child.stream("vectors", texts)

    def close(self) -> None:
        """End the child at once; it holds no state worth keeping."""
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
