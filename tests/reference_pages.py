"""Writes docs/cli.md from the commands' own help; `make docs` runs it, and a test checks that it was run."""

from __future__ import annotations

import os
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """# The command line

This page is made from the commands' own help by `make docs`.

**Streams.** Results go to stdout; progress, notes and errors to stderr. `--json` prints one JSON document (a list
command prints one array). Colour appears on terminals only, and `NO_COLOR` switches it off.

**Exit codes.** 0: done. 1: the work failed; the message says why and what to do next (`MSR_LOCAL_DEBUG=1` adds the
traceback). 2: wrong usage. 3: done, but some input was rejected (`msr-local status --rejects` lists it).
130: interrupted; everything that was done is kept.

**Home.** `--home DIR` or `MSR_LOCAL_HOME`, else the user's data folder. It holds `msr.db` (SQLite) and, if you make
one, `prompts/` with your own versions of the prompt templates; `adapters/` and `training/` come from `finetune`.
`recall/`, with large histories, is a copy that saves time and may be deleted.
"""


def render() -> str:
    """The page as it should be."""
    os.environ.update(COLUMNS="100", TERMINAL_WIDTH="100", NO_COLOR="1")
    import typer

    from msr_local.cli.app import app

    root = typer.main.get_command(app)
    parts = [HEAD]

    def add(command: object, context: object, level: int) -> None:
        help_text = command.get_help(context)  # type: ignore[attr-defined]
        lines = "\n".join(line.rstrip() for line in help_text.splitlines()).strip()
        parts.append(f"{'#' * level} {context.command_path}\n\n```text\n{lines}\n```\n")  # type: ignore[attr-defined]
        for name, child in getattr(command, "commands", {}).items():
            add(child, type(context)(child, info_name=name, parent=context), min(level + 1, 4))

    add(
        root,
        root.make_context("msr-local", ["status"]).__class__(root, info_name="msr-local", **root.context_settings),
        2,
    )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
