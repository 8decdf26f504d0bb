"""The command line: thin commands over the library, one output sink, one table of errors."""

from __future__ import annotations

import os
import sqlite3
import sys
from typing import NoReturn

import click
import typer

from ..errors import MsrError
from .output import Output

__all__ = ["main"]

DONE, FAILED, USAGE, REJECTED, INTERRUPTED = 0, 1, 2, 3, 130


def main() -> NoReturn:
    """Run `msr-local`; always ends in `sys.exit` with a code of the contract (docs/cli.md)."""
    sys.exit(_run())


def _run() -> int:
    from .app import app

    output = Output()
    command = typer.main.get_command(app)
    try:
        code = command.main(prog_name="msr-local", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        output.error("interrupted. What was done is kept: run the same command again to go on.")
        return INTERRUPTED
    except click.ClickException as error:
        return _usage(output, error)
    except BrokenPipeError:  # the reader, head for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        if os.environ.get("MSR_LOCAL_DEBUG") == "1":
            raise
        output.error(str(error) if isinstance(error, MsrError) else _explain(error))
        return error.exit_code if isinstance(error, MsrError) else FAILED


def _usage(output: Output, error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "msr-local"
    output.error(f"{error.format_message()} Next: {where} --help.")
    return USAGE


def _explain(error: Exception) -> str:
    """What an error that is not ours means to the user."""
    if isinstance(error, sqlite3.Error):
        return f"the workspace cannot be read or written ({error}). Next: check space and rights of its folder."
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}."
    if isinstance(error, MemoryError):
        return "out of memory. Next: a smaller model, --context or --candidates."
    return (
        f"unexpected {type(error).__name__}: {error}. This is a bug of msr-local. "
        "Next: run again with MSR_LOCAL_DEBUG=1 and report the traceback."
    )
