"""msr-local in processes that start at once: one process imports all that takes long, and forks for each command.

Each command has a process of its own, with its own environment and in its own group, to interrupt or to kill as
`kill -9` does. Only what it would have imported first is there already.

    with Warm("torch") as warm:
        ran = warm.run("status", "--json", home=home)
        command = warm.start("ingest", items, log, home=home)
        command.kill()
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

from samples import Ran

from msr_local.training.convert import _execute as run_apart

_OURS = os.environ.get("PYTHONPATH", "").split(os.pathsep)
Execute = Callable[[list[str], dict[str, str]], subprocess.CompletedProcess[str]]

COMMANDS = (
    "msr_local.cli.app", "msr_local.catalogue.ingest", "msr_local.recipe.explanations", "msr_local.models.choice",
    "msr_local.evaluation.experiment", "msr_local.viewer", "numpy", "pyarrow.csv", "scipy.sparse", "PIL.Image",
    "sqlite_utils", "rich.progress",
)  # fmt: skip
TRAINING = (
    *COMMANDS, "torch", "transformers.trainer", "transformers.models.llama.modeling_llama", "peft", "accelerate",
    "gguf", "matplotlib.figure", "msr_local.training.finetune", "msr_local.training.loop",
    "msr_local.training.dropout", "msr_local.training.export",
)  # fmt: skip


class Command:
    """A command that runs."""

    def __init__(self, warm: Warm, pid: int, out: Path, err: Path) -> None:
        self.pid, self._warm, self._out, self._err = pid, warm, out, err

    def wait(self, timeout: float = 300) -> Ran:
        """What it printed and returned; the code is -9 after a SIGKILL. One that takes too long is killed."""
        code: int = self._warm.ask(wait=self.pid, timeout=timeout)
        ran = Ran(code, *(path.read_text(encoding="utf-8", errors="replace") for path in (self._out, self._err)))
        self._out.unlink()
        self._err.unlink()
        return ran

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        os.kill(self.pid, signal.SIGINT)

    def kill(self) -> Ran:
        """As `kill -9` does, and the rest of its group with it."""
        _kill(self.pid)
        return self.wait()


class Warm:
    """The process that imports, and asks itself again for each command."""

    def __init__(self, *modules: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm")
        path = os.pathsep.join(os.path.abspath(one) for one in sys.path if one)  # noqa: PTH100
        self._process = subprocess.Popen(
            [sys.executable, __file__, *(modules or COMMANDS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={"GOMP_SPINCOUNT": "1000", **os.environ, "PYTHONPATH": path},  # as training has it, see `finetune`
        )  # fmt: skip
        self._number = 0

    def start(self, *arguments: object, home: Path, moment: str = "") -> Command:
        """Start a command on the workspace `home`, to be killed at a `moment` if one is given (see killed.py)."""
        self._number += 1
        out, err = (Path(self._folder.name) / f"{self._number}.{name}" for name in ("out", "err"))
        pid = self.ask(
            arguments=[str(one) for one in arguments], out=str(out), err=str(err), moment=moment,
            environment={**os.environ, "MSR_LOCAL_HOME": str(home)}, folder=os.getcwd(),  # noqa: PTH109
        )  # fmt: skip
        return Command(self, pid, out, err)

    def run(self, *arguments: object, home: Path, moment: str = "") -> Ran:
        """Run a command to its end."""
        return self.start(*arguments, home=home, moment=moment).wait()

    def ask(self, **request: Any) -> Any:
        """Ask the process; its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def execute(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """As `convert._execute`: run a script of llama.cpp, which would import torch and transformers too."""
        assert self._process.stdin is not None and self._process.stdout is not None
        return _execute(self._process.stdin, self._process.stdout, command, environment)

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()


# ---- inside the process that imports


def _serve(asked: TextIO, answers: TextIO) -> dict[str, Any]:
    """Answer until nobody asks any more; in the process of a new command, its request."""
    for line in asked:
        request = json.loads(line)
        if "wait" in request:
            answer: Any = _waited(request["wait"], request["timeout"])
        elif "script" in request:
            answer = _executed(**request)
        elif not (answer := os.fork()):
            return dict(request)
        print(json.dumps(answer), file=answers, flush=True)
    sys.exit()


def _waited(pid: int, timeout: float) -> int:
    until = time.monotonic() + timeout
    while not (found := os.waitpid(pid, os.WNOHANG))[0]:
        time.sleep(0.002)
        if time.monotonic() > until:
            _kill(pid)
            until = float("inf")
    return os.waitstatus_to_exitcode(found[1])


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(pid, signal.SIGKILL)


def _streams(out: str, err: str) -> None:
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT),
        (2, err, os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(name, flags)
        os.dup2(opened, number)
        os.close(opened)


def _environment(names: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(names)


def _command(request: dict[str, Any]) -> NoReturn:
    """Become the command: nothing of the other process is left but its modules."""
    os.setsid()
    _streams(request["out"], request["err"])
    # A shell that runs the tests in its background has them ignore SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _environment(request["environment"])
    os.chdir(request["folder"])
    if convert := sys.modules.get("msr_local.training.convert"):
        convert._execute = _beside()  # type: ignore[attr-defined]
    if request["moment"]:
        from killed import arm

        arm(request["moment"])
    sys.argv = ["msr-local", *request["arguments"]]
    from msr_local.__main__ import main

    main()


def _beside() -> Execute:
    """What executes scripts for a command: a process that is forked before the command has begun with anything."""
    (asked, to), (back, answers) = os.pipe(), os.pipe()
    if not os.fork():
        os.close(to)
        os.close(back)
        try:
            _serve(os.fdopen(asked), os.fdopen(answers, "w"))
        finally:
            os._exit(0)
    os.close(asked)
    os.close(answers)
    return partial(_execute, os.fdopen(to, "w"), os.fdopen(back))


def _execute(
    asked: TextIO, answers: TextIO, command: list[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """As `convert._execute`, for a command that is Python and a script."""
    if command[0] != sys.executable or not command[1].endswith(".py"):
        return run_apart(command, environment)
    print(json.dumps({"script": command[1:], "environment": environment}), file=asked, flush=True)
    return subprocess.CompletedProcess(command, *json.loads(answers.readline()))


def _executed(script: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        if not (pid := os.fork()):
            _streams(str(out), str(err))
            os._exit(_script(script, environment))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code, out.read_text(errors="replace"), err.read_text(errors="replace")


def _script(script: list[str], environment: dict[str, str]) -> int:
    """Run a script as a new interpreter would, with its own path first and without our packages on it."""
    path = environment.get("PYTHONPATH", "").split(os.pathsep)
    _environment(environment)
    sys.path[:] = [str(Path(script[0]).parent), *path, *(one for one in sys.path if one not in _OURS)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("gguf", "conversion")]:
        del sys.modules[name]  # the script brings its own
    sys.argv = script
    try:
        runpy.run_path(script[0], run_name="__main__")
    except SystemExit as stop:
        if isinstance(stop.code, int | None):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    for module in sys.argv[1:] if sys.platform == "linux" else []:  # elsewhere a used library cannot be forked
        importlib.import_module(module)
    _command(_serve(sys.stdin, sys.stdout))
