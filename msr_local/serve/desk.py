"""One worker with one engine, and the line of requests before it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..engine.types import Engine, EngineConfig, ServerConfig
from ..models.asking import Asking
from ..models.choice import cast
from ..models.spec import open_engine
from ..recipe.recommender import Recommender
from ..store.workspace import Workspace

Result = TypeVar("Result")
Work = Callable[[Recommender], Any]
_LOOK = 0.2  # seconds between looks whether a client is still there


class Busy(Exception):
    """The line is as long as it may be."""


class Left(Exception):
    """The client has gone away, so nobody is answered."""


class _Stop(BaseException):
    """Ends work for a client that left, at its next answer. Not an error: nothing may catch it as one."""


@dataclass(slots=True, eq=False)
class _Request:
    work: Work
    answer: Future[Any] = field(default_factory=Future)
    gone: threading.Event = field(default_factory=threading.Event)


class Desk:
    """Answers requests one after the other, in a thread that owns the workspace and the recommender.

    At most `limit` wait. All that an answer makes is stored at once, so what was stopped goes on where it was.
    """

    def __init__(
        self, home: Path, asking: Asking, limit: int = 64,
        open_engine: Callable[[EngineConfig | ServerConfig], Engine] = open_engine,
    ) -> None:  # fmt: skip
        self._home, self._asking, self._open = home, asking, open_engine
        self._line: queue.Queue[_Request | None] = queue.Queue(limit)
        self._now: _Request | None = None
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, name="msr-local desk", daemon=True)
        self._thread.start()
        self._ready.result()  # what is wrong with workspace or model is raised here

    @property
    def waiting(self) -> int:
        """How many requests are in the line."""
        return self._line.qsize()

    async def ask(self, work: Callable[[Recommender], Result], left: Callable[[], Any]) -> Result:
        """What `work` makes with the recommender. `left` is an async function: whether the client has gone away.

        Raises `Busy` where the line is full, and `Left` for a client that left.
        """
        request = _Request(work)
        try:
            self._line.put_nowait(request)
        except queue.Full:
            raise Busy from None
        answer: asyncio.Future[Result] = asyncio.wrap_future(request.answer)
        try:
            while not answer.done():
                await asyncio.wait([answer], timeout=_LOOK)
                if not answer.done() and await left():
                    raise Left
            return answer.result()
        except BaseException:
            request.gone.set()
            with self._line.mutex, contextlib.suppress(ValueError):  # it may be at work
                self._line.queue.remove(request)
            raise

    def close(self) -> None:
        """Stop what is being made, answer nobody any more, and end the engine."""
        if request := self._now:
            request.gone.set()
        while not self._line.empty():
            if waiting := self._line.get_nowait():
                waiting.answer.cancel()
        self._line.put(None)
        self._thread.join()

    def _work(self) -> None:
        def stop_if_gone(stage: str, done: int, total: int, detail: str = "") -> None:
            if self._now and self._now.gone.is_set():
                raise _Stop

        try:
            with (
                Workspace(self._home) as workspace,
                Recommender(
                    workspace, cast(workspace, self._asking), progress=stop_if_gone, open_engine=self._open
                ) as recommender,
            ):
                recommender.start()
                self._ready.set_result(None)
                while request := self._line.get():
                    self._answer(request, recommender)
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    def _answer(self, request: _Request, recommender: Recommender) -> None:
        if request.gone.is_set() or not request.answer.set_running_or_notify_cancel():
            return
        self._now = request
        try:
            request.answer.set_result(request.work(recommender))
        except _Stop:
            request.answer.set_exception(Left())
        except BaseException as error:  # of one request: the next ones are answered
            request.answer.set_exception(error)
        finally:
            self._now = None
