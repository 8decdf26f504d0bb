"""The Typer app: global options, and one file a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import adapters, browse, demo, doctor, evaluate, explain, finetune, ingest, models, recommend, serve, similar
from .calibrate import calibrate
from .clean import clean
from .options import Session
from .output import Output

app = typer.Typer(
    pretty_exceptions_enable=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"msr-local {version('msr-local')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    ctx: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home", envvar="MSR_LOCAL_HOME", file_okay=False, metavar="DIR", help="The folder of the workspace.",
            show_default="the user's data folder",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Write errors only to stderr, no progress and no notes.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:  # fmt: skip
    """Recommend items from pictures and histories, and explain why, with a language model on this machine.

    To start: msr-local demo. With your own data: msr-local ingest ITEMS INTERACTIONS, then
    msr-local recommend USER and msr-local explain USER.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit
    from ..files import data_folder

    place = home.expanduser() if home else data_folder()  # a variable, which no shell has read
    ctx.obj = Session(place, home is not None, Output(quiet=quiet))


for command in (
    demo.demo, ingest.ingest, finetune.finetune, calibrate, evaluate.evaluate, recommend.recommend,
    explain.explain, similar.similar, browse.users, browse.items, browse.status, clean, serve.serve, doctor.doctor,
):  # fmt: skip
    app.command()(command)
app.add_typer(models.app, name="models")
app.add_typer(adapters.app, name="adapters")
