"""msr-local in processes that start at once: one process imports all that takes long, and forks for each command.

Each command has a process of its own, with its own environment and in its own group, to interrupt or to kill as
`kill -9` does. Only what it would have imported first is there already.

    with Warm("torch") as warm:
        ran = warm.run("status", "--json", home=home)
        command = warm.start("ingest", items, log, home=home)
        command.kill()
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from samples import Ran

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

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()


# ---- inside the process that imports


def _serve(modules: list[str]) -> dict[str, Any]:
    """Answer until nobody asks; in the process of a command, its request."""
    import importlib

    for name in modules if sys.platform == "linux" else []:  # elsewhere a library that was used cannot be forked
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = _waited(request["wait"], request["timeout"])
        elif not (answer := os.fork()):
            return dict(request)
        print(answer, flush=True)
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


def _command(request: dict[str, Any]) -> NoReturn:
    """Become the command: nothing of the other process is left but its modules."""
    os.setsid()
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY | os.O_CREAT),
        (2, request["err"], os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(name, flags)
        os.dup2(opened, number)
        os.close(opened)
    # A shell that runs the tests in its background has them ignore SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["msr-local", *request["arguments"]]
    if request["moment"]:
        from killed import arm

        arm(request["moment"])
    from msr_local.__main__ import main

    main()


if __name__ == "__main__":
    _command(_serve(sys.argv[1:]))
