"""The command line: thin commands over the library, one output sink, one table of errors."""

from __future__ import annotations

import errno
import io
import os
import sys

import typer

from ..errors import MsrError
from ..files import expanded
from ..text import storable
from .output import DONE, FAILED, INTERRUPTED, USAGE, Output

__all__ = ["run"]


def run() -> int:
    """Run `msr-local` with `sys.argv`; the exit code of the contract (docs/cli.md)."""
    from .app import app

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a title must not crash a terminal of another encoding
    output = Output()
    command = typer.main.get_command(app)
    try:
        code = command.main(
            [_taken(argument) for argument in sys.argv[1:]], prog_name="msr-local", standalone_mode=False
        )
        sys.stdout.flush()
        if code == INTERRUPTED:  # Typer's own answer to Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else DONE
    except typer.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:  # how Typer and Rich answer a reader, head for one, that has seen enough
        return DONE if isinstance(stop.__context__, BrokenPipeError) else int(stop.code or DONE)
    except (KeyboardInterrupt, typer.Abort):
        output.error("interrupted. What was done is kept. Next: run the same command again to go on.")
        return INTERRUPTED
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "msr-local"
        message = error.format_message().rstrip(".").replace(": Value error, ", ": ")
        ids = f", or {where} -- ID for an id that begins with -" if message.startswith("No such option") else ""
        output.error(f"{message}{'' if message.endswith('?') else '.'} Next: {where} --help{ids}.")
        return USAGE
    except BrokenPipeError:  # the reader, head for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        if os.environ.get("MSR_LOCAL_DEBUG") == "1":
            raise
        output.error(str(error) if isinstance(error, MsrError) else _explain(error))
        return error.exit_code if isinstance(error, MsrError) else FAILED


def _taken(argument: str) -> str:
    """`argument` without bytes that are no text, unless it is a path: as lone surrogates they fit no SQLite.

    In --option=~/file, ~ is the own folder: shells leave it so, and a folder of that name is a trap.
    """
    name, sign, path = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if sign and path[:2] in ("~/", "~\\"):
        path = str(expanded(path))
        argument = f"{name}={path}"
    folder = os.path.dirname(path)  # noqa: PTH120
    is_path = os.path.exists(path) or os.path.isabs(path) or os.path.isdir(folder)  # noqa: PTH110, PTH112, PTH117
    return argument if is_path else storable(argument)


def _explain(error: Exception) -> str:
    """What an error that is not ours means to the user."""
    from ..store.faults import Fault, said

    if isinstance(error, Fault) and (words := said(error)):
        return words
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{error.filename or 'the output'}: the disk is full. Next: free space, then the same command."
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}. Next: check that path and its rights."
    if isinstance(error, UnicodeEncodeError):
        return f"a name that is not UTF-8 cannot be kept ({error}). Next: rename it."
    if isinstance(error, MemoryError):
        return "out of memory. Next: a smaller model, --context or --candidates."
    return (
        f"unexpected {type(error).__name__}: {error}. This is a bug of msr-local. "
        "Next: run again with MSR_LOCAL_DEBUG=1 and report the traceback."
    )
