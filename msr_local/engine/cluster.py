"""Engines on the machines of a Ray cluster: each is an actor with one engine, and a pool makes one of them all.

Actors read weights from files, which the machine maps into memory once for all of them. Where a machine does not have
a file, it is sent there once, and kept in its cache under the file's hash.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..arrays import Floats
from ..errors import EngineCrashed, ModelError, MsrError
from ..files import cache_folder, sha256, written_whole
from ..hardware import usable_threads
from .pool import Pool
from .types import Capabilities, Engine, EngineConfig, Generation, LogOdds, Question, ServerConfig, Writing

_CHUNK = 64 * 1024 * 1024  # bytes of a file that are sent at a time
Opening = Callable[[EngineConfig | ServerConfig], Engine]


def _mute(ray: Any) -> None:
    """Send what Ray tells of dead machines to stderr: stdout is for results, and Ray has no option for it."""
    worker = ray._private.worker
    told = getattr(worker, "print_to_stdstream", None)
    if told is not None:
        worker.print_to_stdstream = lambda data, *more, **named: told({**data, "is_err": True}, *more, **named)


@contextlib.contextmanager
def clustered(address: str, open_engine: Opening, workers: int | None = None) -> Iterator[Opening]:
    """What opens a pool on the cluster at `address`, or on one of this machine if that is "local".

    Of so many engines, or as many as it has CPUs for; each uses one thread, if nobody says how many. Raises `MsrError`
    where there is no such cluster, or no machine in it with so many CPUs.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of this machine is told to others
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # what comes late must not join a cluster again
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MsrError("--ray needs the package ray. Next: pip install 'msr-local[ray]'.") from error
    _mute(ray)
    where: dict[str, Any] = {"address": address}
    if address == "local":
        where |= {"num_cpus": usable_threads(), "include_dashboard": False}
    try:
        ray.init(**where, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        raise MsrError(
            f"there is no Ray cluster at {address} ({error}). Next: ray start --head, then --ray with the HOST:PORT "
            "that it prints; or --ray local."
        ) from error

    pools = itertools.count()

    def opened(config: EngineConfig | ServerConfig) -> Engine:
        threads = 1
        if isinstance(config, EngineConfig):
            threads = config.threads or 1
            config = replace(config, threads=threads)
        machines = [int(one["Resources"].get("CPU", 0)) for one in ray.nodes() if one["Alive"]]
        room = sum(cpus // threads for cpus in machines)
        if not room:
            raise MsrError(
                f"no machine of the Ray cluster has {threads} CPUs for an engine. "
                f"Next: --threads {max([1, *machines])} at most."
            )
        # The model of another role shares the CPUs of the first: it would wait for them forever.
        cpus = 0 if next(pools) else threads
        files = _Files(config)
        return Pool(open_engine(config), lambda: _Actor(config, cpus, files, open_engine), workers or room)

    try:
        yield opened
    finally:
        ray.shutdown()


def weights(config: EngineConfig | ServerConfig) -> dict[Path, str]:
    """The SHA-256 of each file that an engine reads."""
    if isinstance(config, ServerConfig):
        return {}
    named = [config.model, config.projector, *config.adapters.values()]
    return {path: sha256(path) for path in named if path is not None}


class _Files:
    """The files of a configuration, in parts that go through the cluster when a machine asks for them."""

    def __init__(self, config: EngineConfig | ServerConfig) -> None:
        self.hashes = weights(config)
        self._sent: dict[str, list[Any]] = {}
        self._lock = threading.Lock()

    def sent(self, hashed: str) -> list[Any]:
        """References to the parts of a file."""
        import ray

        with self._lock:
            if hashed not in self._sent:
                path = next(path for path, one in self.hashes.items() if one == hashed)
                self._sent[hashed] = [ray.put(part) for part in _parts(path)]
            return self._sent[hashed]


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            yield part


class Seat:
    """One engine on a machine of the cluster: runs as an actor."""

    def __init__(
        self, config: EngineConfig | ServerConfig, hashes: Mapping[Path, str], open_engine: Opening,
        cache: Path | None = None,
    ) -> None:  # fmt: skip
        self._config, self._hashes, self._open = config, hashes, open_engine
        self._cache = cache or cache_folder() / "sent"
        self._engine: Engine | None = None

    def missing(self) -> list[str]:
        """The hashes of the files that this machine does not have."""
        return [hashed for path, hashed in self._hashes.items() if not self._here(path, hashed).exists()]

    def _here(self, path: Path, hashed: str) -> Path:
        """The file itself, where this machine has it, or its place in the cache."""
        with contextlib.suppress(OSError):
            if sha256(path) == hashed:
                return path
        return self._cache / f"{hashed}{path.suffix}"

    def receive(self, hashed: str, parts: Iterable[Any]) -> None:
        """Keep a file that was missing; of several actors on a machine, the first one does. `parts` are references."""
        import ray

        target = next(self._here(path, one) for path, one in self._hashes.items() if one == hashed)
        self._cache.mkdir(parents=True, exist_ok=True)
        with FileLock(self._cache / f"{hashed}.lock"):
            if not target.exists():
                with written_whole(target) as part:
                    with part.open("wb") as file:
                        for one in parts:
                            file.write(ray.get(one))
                    if sha256(part) != hashed:
                        raise ModelError(f"{target.name}: it came damaged through the cluster. Next: run this again.")

    def start(self) -> Capabilities:
        """Load the model."""
        config = self._config
        if isinstance(config, EngineConfig):
            here = {path: self._here(path, hashed) for path, hashed in self._hashes.items()}
            states = config.states
            config = replace(
                config,
                model=here[config.model],
                projector=config.projector and here[config.projector],
                adapters={role: here[path] for role, path in config.adapters.items()},
                states=states if states and states.parent.parent.is_dir() else None,  # the driver's workspace
            )
        self._engine = self._open(config)
        return self._engine.can

    def fits(self, question: Question, room: int) -> bool:
        """See `Engine`."""
        assert self._engine is not None
        return self._engine.fits(question, room)

    def ask(self, method: str, *args: Any) -> Iterator[Any]:
        """What a method of the engine gives, one by one."""
        yield from getattr(self._engine, method)(*args)


class _Actor:
    """An `Engine` that is an actor. Raises `EngineCrashed` when that, or its machine, is gone."""

    def __init__(
        self, config: EngineConfig | ServerConfig, cpus: int, files: _Files, open_engine: Opening
    ) -> None:  # fmt: skip
        import ray

        self._name = config.name
        where = "DEFAULT" if cpus else "SPREAD"
        seat = ray.remote(Seat).options(num_cpus=cpus, scheduling_strategy=where)
        self._seat = seat.remote(config, files.hashes, open_engine)
        try:
            for hashed in self._call("missing"):
                self._call("receive", hashed, files.sent(hashed))
            self.can: Capabilities = self._call("start")
        except BaseException:
            self.close()
            raise

    def _call(self, method: str, *args: Any) -> Any:
        import ray

        with self._telling():
            return ray.get(getattr(self._seat, method).remote(*args))

    def _stream(self, method: str, *args: Any) -> Iterator[Any]:
        import ray

        with self._telling():
            for one in self._seat.ask.options(num_returns="streaming").remote(method, *args):
                yield ray.get(one)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of the engine as they were there; a machine that is gone is one that crashed."""
        from ray.exceptions import RayError, RayTaskError

        try:
            yield
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise EngineCrashed(
                f"a worker of the Ray cluster that answers with {self._name} is gone ({type(error).__name__}). Nothing "
                "that was stored is lost. Next: run the command again."
            ) from None

    def fits(self, question: Question, room: int) -> bool:
        fits: bool = self._call("fits", question, room)
        return fits

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        return self._stream("answers", questions)

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        return self._stream("write", questions, how)

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        return self._stream("vectors", texts)

    def close(self) -> None:
        import ray

        with contextlib.suppress(Exception):  # it may be gone, or the cluster may be
            ray.kill(self._seat)
