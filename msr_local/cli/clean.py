"""`msr-local clean`: an end to kept results that nothing can use any more."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from . import options as opt


def clean(
    ctx: typer.Context,
    dry_run: Annotated[bool, opt.flag("--dry-run", "Only say what would be removed, and how much it is.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Remove kept results that nothing can use any more.

    Captions, summaries, answers, lists and vectors are kept for whoever asks the same again. Those of a model, adapter,
    prompt or text that is no longer this workspace's are of no use; they would only be made again if you went back to
    it. What was read from your files stays, and so do adapters and training runs.
    """
    from ..recipe.clean import clean as remove_unused
    from ..store.prune import shrink
    from ..viewer.tables import rows_table

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        found = remove_unused(workspace, dry_run=dry_run)
        before = workspace.path.stat().st_size
        removed = sum(one.unused for one in found)
        if removed and not dry_run and not shrink(workspace):
            session.output.note("The rows are gone, but there is no room to make the file smaller now.")
        after = workspace.path.stat().st_size
    size = sum(one.bytes for one in found)
    rows = [{"results": one.table.replace("_", " "), "unused": one.unused, "about_MB": f"{one.bytes / 1e6:.1f}",
             "in_use": one.kept} for one in found]  # fmt: skip
    if unknown := sum(one.unknown for one in found):
        session.output.note(f"{unknown:,} results of an earlier release do not say what made them; they stay.")
    if dry_run:
        session.output.note(f"Nothing was removed. Without --dry-run: {removed:,} results, about {size / 1e6:.1f} MB.")
    else:
        session.output.note(f"Removed {removed:,} results; the database went from {before / 1e6:.1f} to "
                            f"{after / 1e6:.1f} MB.")  # fmt: skip
    document = {"dry_run": dry_run, "results": [asdict(one) for one in found], "unused": removed, "bytes": size}
    session.output.result(document, lambda: rows_table(rows, right=("unused", "about_MB", "in_use")), as_json=as_json)
