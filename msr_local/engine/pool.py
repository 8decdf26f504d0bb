"""Many engines as one: questions go to whichever is free, and what an engine that dies had left goes to another one.

All yes/no questions with one shared beginning go to one engine, also later ones, so that it is read once. A thread for
each engine hands questions out and answers in; whoever asks stays in its own thread, and alone keeps what comes.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

from ..arrays import Floats
from ..errors import ContextOverflow, EngineCrashed, ModelError, MsrError
from ..hardware import usable_threads
from .types import Engine, EngineConfig, Generation, LogOdds, Question, ServerConfig, Writing

_BATCH = 16  # texts that an engine gets at a time, to write or to read: about as many as it takes side by side
_CRASHES = 3  # of engines over the same work, without an answer between them, after which it is not the engine's fault
_AHEAD = 2  # groups on their way for each engine: one in work, one that waits
_PATIENCE = 5.0  # seconds for all threads to end
FAULTS = (ModelError, EngineCrashed)  # what may be the fault of one question: of its length, or its picture
_HOMES = 4096  # shared beginnings that are remembered with their engine

Tag = TypeVar("Tag")
_Results = queue.SimpleQueue["_Result"]


@dataclass(slots=True, eq=False)
class _Job:
    """Questions or texts for one engine; results go out one by one, at last an error, or the end if that is `told`."""

    method: str
    asked: Sequence[Any]
    first: int  # place of the first of them in what the caller asked
    results: _Results
    how: Writing | None = None
    beginning: tuple[str, str] | None = None  # what its questions share, where it shall stay with one engine
    tag: Any = None
    told: bool = True
    crashes: int = 0
    given_up: bool = False
    left: list[int] = field(default_factory=list)  # places in `asked` without a result

    def __post_init__(self) -> None:
        self.left = list(range(len(self.asked)))

    def run(self, engine: Engine) -> None:
        """Ask what is left of it. Raises `EngineCrashed`, and then knows what is left."""
        left = list(self.left)
        some = [self.asked[place] for place in left]
        if self.method == "write":
            assert self.how is not None
            said = [self.how.said[place] for place in left] if self.how.said else ()
            items: Iterator[tuple[int, Any]] = engine.write(some, replace(self.how, said=said))
        else:
            items = enumerate(engine.answers(some)) if self.method == "answers" else engine.vectors(some)
        for place, value in items:
            if self.given_up:
                return
            self.left.remove(left[place])
            self.crashes = 0
            self.results.put(_Result(self, self.first + left[place], value))


@dataclass(frozen=True, slots=True)
class _Result:
    job: _Job
    place: int = -1
    value: Any = None
    error: BaseException | None = None

    @property
    def last(self) -> bool:
        """Whether nothing of the job comes after it."""
        return self.place < 0


class Pool:
    """An `Engine` over `width` engines that `open_engine` makes, each in a thread of its own.

    `front` counts tokens beside them, so that nobody waits for that. An engine that dies is replaced.
    """

    def __init__(self, front: Engine, open_engine: Callable[[], Engine], width: int) -> None:
        self.width, self._front, self._open = width, front, open_engine
        self.can = replace(front.can, tokens=False)
        self._lock = threading.Lock()
        self._bells = [threading.Condition(self._lock) for _ in range(width)]  # one for each thread: to wake it alone
        self._idle: dict[int, None] = {}  # threads that wait for their bell
        self._waiting: deque[_Job] = deque()  # for whichever engine is free
        self._own: dict[int, deque[_Job]] = {
            number: deque() for number in range(width)
        }  # for one that is at home there
        self._homes: dict[tuple[str, str], int] = {}  # engine of a shared beginning
        self._engines: dict[int, Engine] = {}
        self._working, self._closed = set(range(width)), False
        self._over: BaseException | None = None  # why no engine is left
        self._threads = [
            threading.Thread(target=self._work, args=[number], name=f"msr-local {number}", daemon=True)
            for number in range(width)
        ]
        for thread in self._threads:
            thread.start()

    def fits(self, question: Question, room: int) -> bool:
        return self._front.fits(question, room)

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        jobs, results = [], _Results()
        for first, end in _alike(questions):
            jobs.append(_Job("answers", questions[first:end], first, results, beginning=_beginning(questions[first])))
        ready: dict[int, LogOdds] = {}
        errors: dict[int, BaseException] = {}
        with self._asked(jobs):
            for place in range(len(questions)):
                while place not in ready:
                    if place in errors:
                        raise errors[place]
                    found = results.get()
                    if found.error and found.job.left:
                        errors[found.job.first + found.job.left[0]] = found.error
                    elif not found.last:
                        ready[found.place] = found.value
                yield ready.pop(place)

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        yield from self._dealt("write", questions, how)

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        yield from self._dealt("vectors", texts)

    def _dealt(self, method: str, asked: Sequence[Any], how: Writing | None = None) -> Iterator[tuple[int, Any]]:
        """Results as they come, of batches that go to whoever is free."""
        size, results = max(1, min(_BATCH, -(-len(asked) // self.width))), _Results()
        jobs = [
            _Job(
                method, asked[first : first + size], first, results,
                how and replace(how, said=how.said[first : first + size]),
            )
            for first in range(0, len(asked), size)
        ]  # fmt: skip
        failed: dict[int, BaseException] = {}
        with self._asked(jobs):
            running = len(jobs)
            while running:
                found = results.get()
                running -= found.last
                if found.error:
                    failed[found.job.first] = found.error
                    if not isinstance(found.error, ContextOverflow):
                        break
                elif not found.last:
                    yield found.place, found.value
        if failed:  # an over-long question: all before it are finished
            raise failed[min(failed)]

    @contextlib.contextmanager
    def _asked(self, jobs: Sequence[_Job]) -> Iterator[None]:
        """Jobs on their way; whoever leaves gives up what is left of them."""
        self.submit(jobs)
        try:
            yield
        finally:
            self.give_up(jobs)

    def submit(self, jobs: Sequence[_Job]) -> None:
        """Let engines do these jobs."""
        with self._lock:
            if self._over:
                raise self._over
            if self._closed:
                raise RuntimeError("this engine was closed")
            for job in jobs:
                home = self._homes.get(job.beginning) if job.beginning else None
                (self._waiting if home is None else self._own[home]).append(job)
                self._ring(home)

    def give_up(self, jobs: Sequence[_Job]) -> None:
        """Nobody waits for these jobs any more."""
        with self._lock:
            for job in jobs:
                job.given_up = True

    # ---- in the threads of the engines

    def _work(self, number: int) -> None:
        job: _Job | None = None
        error: BaseException | None = None
        try:
            while (engine := self._opened(number)) and (job := self._next(number)):
                try:
                    job.run(engine)
                    if job.told:
                        job.results.put(_Result(job))
                except EngineCrashed as crash:
                    self._crashed(number, job, crash)
                except Exception as other:  # belongs to whoever asked
                    job.results.put(_Result(job, error=other))
                job = None  # done, or another engine's: what goes wrong from here on is not its fault
        except BaseException as other:
            error = other
            if job:
                job.results.put(_Result(job, error=other))
        self._leave(number, error)

    def _opened(self, number: int) -> Engine | None:
        """The engine of a thread, a new one where it has none; None when the pool is closed."""
        if number not in self._engines and not self._closed:
            engine = self._started()
            with self._lock:
                self._engines[number] = engine
                closed = self._closed
            if closed:
                engine.close()
        return None if self._closed else self._engines.get(number)

    def _started(self) -> Engine:
        for _ in range(_CRASHES):
            with contextlib.suppress(EngineCrashed):
                return self._open()
            if self._closed:
                break
        return self._open()

    def _next(self, number: int) -> _Job | None:
        """The next job for an engine: of a beginning that it has read, else one that belongs to no other engine."""
        with self._lock:
            while not self._closed:
                own = self._own[number]
                while own or self._waiting:
                    job = (own or self._waiting).popleft()
                    home = self._homes.get(job.beginning, number) if job.beginning else number
                    if job.given_up:
                        continue
                    if home != number:  # it has one since it was put here
                        self._own[home].append(job)
                        self._ring(home)
                        continue
                    if job.beginning:
                        self._homes.pop(job.beginning, None)  # the latest comes last
                        self._homes[job.beginning] = number
                        if len(self._homes) > _HOMES:
                            del self._homes[next(iter(self._homes))]
                    return job
                self._idle[number] = None
                self._bells[number].wait()
        return None

    def _ring(self, number: int | None) -> None:
        """Wake a thread that waits, or any of them: there is work for it."""
        if number is None:
            number = next(iter(self._idle), None)
        if number in self._idle:
            del self._idle[number]
            self._bells[number].notify()

    def _ring_all(self) -> None:
        for number in list(self._idle):
            self._ring(number)

    def _crashed(self, number: int, job: _Job, crash: EngineCrashed) -> None:
        """What is left of the job goes to any engine; if it killed several, it fails."""
        with self._lock:
            self._forget(number)
            engine = self._engines.pop(number, None)
            job.crashes += 1
            if job.crashes >= _CRASHES:
                job.results.put(_Result(job, error=crash))
            else:
                self._waiting.appendleft(job)
            self._ring_all()
        if engine:
            engine.close()

    def _forget(self, number: int) -> None:
        """An engine is gone, and with it what it has read: its jobs go to any other."""
        self._homes = {beginning: home for beginning, home in self._homes.items() if home != number}
        self._waiting.extendleft(reversed(self._own[number]))
        self._own[number].clear()

    def _leave(self, number: int, error: BaseException | None) -> None:
        """A thread ends; without any other, all that wait get its error."""
        with self._lock:
            self._forget(number)
            self._working.discard(number)
            if not self._working and not self._closed:
                self._over = error or EngineCrashed("no engine is left. Next: run the command again.")
                for job in self._waiting:
                    job.results.put(_Result(job, error=self._over))
            self._ring_all()

    def close(self) -> None:
        """End all engines at once."""
        with self._lock:
            self._closed = True
            engines = list(self._engines.values())
            self._ring_all()
        for engine in (*engines, self._front):
            engine.close()
        end = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))


def _alike(questions: Sequence[Question]) -> Iterator[tuple[int, int]]:
    """Where each run of neighbours with the same beginning starts and ends."""
    first = 0
    for end in range(1, len(questions) + 1):
        if end == len(questions) or _beginning(questions[end]) != _beginning(questions[first]):
            yield first, end
            first = end


def _beginning(question: Question) -> tuple[str, str]:
    return question.system, question.shared


class Line(Generic[Tag]):
    """Groups of yes/no questions on their way to an engine, or to those of a pool. Use as a context manager.

    `engine` gives the one for a group, when that is asked.
    """

    def __init__(self, engine: Callable[[Sequence[Question]], Engine]) -> None:
        self._engine = engine
        self._results = _Results()
        self._pool: Pool | None = None
        self._alone: Iterator[_Result] = iter(())  # of an engine that is no pool
        self._left: dict[_Job, int] = {}  # answers that are still to come

    @property
    def free(self) -> bool:
        """Whether an engine would be idle without another group."""
        return len(self._left) < (_AHEAD * self._pool.width if self._pool else 1)

    @property
    def answered(self) -> bool:
        """Whether an answer is there that nobody has looked at."""
        return not self._results.empty()

    def ask(self, tag: Tag, questions: Sequence[Question]) -> None:
        """Ask a group; its answers come under `tag`."""
        engine = self._engine(questions)
        # The end of a job is no answer: whoever waited for one would hand out nothing meanwhile.
        job = _Job("answers", questions, 0, self._results, beginning=_beginning(questions[0]), tag=tag, told=False)
        self._left[job] = len(questions)
        if isinstance(engine, Pool):
            self._pool = engine
            engine.submit([job])
        else:
            self._alone = _answered(engine, job)

    def next(self) -> tuple[Tag, int, LogOdds | MsrError]:
        """The next answer: the group's tag, the place of the question, and the answer; an error ends a group."""
        while True:
            found = self._results.get() if self._pool else next(self._alone)
            if found.error and not isinstance(found.error, FAULTS):
                raise found.error
            if found.job in self._left:
                self._left[found.job] -= 1
                if found.error or not self._left[found.job]:
                    del self._left[found.job]
                return found.job.tag, found.place, cast(LogOdds | MsrError, found.error or found.value)

    def __enter__(self) -> Line[Tag]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.give_up(list(self._left))


def _answered(engine: Engine, job: _Job) -> Iterator[_Result]:
    answers, last = engine.answers(job.asked), len(job.asked) - 1
    try:
        for place in range(last):
            yield _Result(job, place, next(answers))
        *_, answer = answers  # reads on to the end
        yield _Result(job, last, answer)
    except FAULTS as error:
        yield _Result(job, error=error)


def pooled(
    open_engine: Callable[[EngineConfig | ServerConfig], Engine], width: int
) -> Callable[[EngineConfig | ServerConfig], Engine]:
    """As `open_engine`, of so many engines as one; together they use all CPU threads, if nobody says how many."""

    def opened(config: EngineConfig | ServerConfig) -> Engine:
        shared = config
        if isinstance(config, EngineConfig):
            shared = replace(config, threads=config.threads or max(1, usable_threads() // width))
        return Pool(open_engine(shared), lambda: open_engine(shared), width)

    return opened
