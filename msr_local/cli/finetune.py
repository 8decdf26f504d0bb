"""`msr-local finetune`: from the workspace's histories to a recommender of its own."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..text import printable
from . import options as opt

if TYPE_CHECKING:
    from ..models.manifest import Manifest
    from ..store.workspace import Workspace
    from ..training.questions import Questions
    from ..training.settings import Settings


class BackendName(str, Enum):
    """What trains."""

    auto = "auto"
    unsloth = "unsloth"
    peft = "peft"


class Negatives(str, Enum):
    """Where the items of the noes come from."""

    uniform = "uniform"
    popularity = "popularity"
    hard = "hard"


class SplitKind(str, Enum):
    """What is held back for validation and tests."""

    time = "time"
    order = "order"
    users = "users"


class Loss(str, Enum):
    """What training makes small."""

    answer = "answer"
    ranking = "ranking"


class Quantisation(str, Enum):
    """Weight types of the merged model."""

    f16 = "f16"
    q8_0 = "q8_0"
    q4_0 = "q4_0"
    q4_k_m = "q4_k_m"


_SHOWN = 3  # rows of a dry run


def finetune(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the adapter is called.")] = "recommender",
    activate: Annotated[bool, typer.Option("--activate", help="Let it answer from now on.")] = False,
    base: Annotated[
        str, typer.Option("--base", metavar="BASE", help="embedded, a Hugging Face folder, or a hub id.")
    ] = "embedded",
    backend: Annotated[BackendName, typer.Option("--backend", help="What trains.")] = BackendName.auto,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run of this name that was stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make the training set, show it, and stop.")] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Write the training set as JSON lines.", show_default=False),
    ] = None,
    recipe: Annotated[opt.RecipeName, typer.Option(help="The evidence in the question.")] = opt.RecipeName.full,
    block_size: Annotated[int, typer.Option(min=1, metavar="N", help="Interactions that one summary step reads.")] = 3,
    history: Annotated[
        int, typer.Option("--history", min=1, metavar="N", help="Summarise at most the last N interactions.")
    ] = 30,
    rows: Annotated[int, typer.Option(min=8, metavar="N", help="Training questions, yes and no together.")] = 1000,
    ratio: Annotated[int, typer.Option(min=1, metavar="N", help="Noes for each yes.")] = 1,
    negatives: Annotated[Negatives, typer.Option(help="Where the noes come from.")] = Negatives.uniform,
    split: Annotated[
        SplitKind | None,
        typer.Option(
            help="Hold back what comes after a moment, each user's last two, or a fifth of the users.",
            show_default="time, where there are times, else order",
        ),
    ] = None,
    validation_rows: Annotated[int, typer.Option(min=8, metavar="N", help="Validation questions.")] = 128,
    max_length: Annotated[int, typer.Option(min=64, metavar="N", help="Tokens of a question, at most.")] = 1024,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the training questions.")] = 4.0,
    rank: Annotated[int, typer.Option(min=1, max=512, metavar="N", help="Rank of the LoRA.")] = 16,
    alpha: Annotated[int, typer.Option(min=1, metavar="N", help="Its scale is alpha / rank.")] = 32,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Dropout of the LoRA's input.")] = 0.1,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr", min=1e-8, max=1.0, help="Learning rate.", show_default="2e-5 from 1B parameters on, else 3e-4"
        ),
    ] = None,
    loss: Annotated[
        Loss, typer.Option(help="Learn each answer, or also to put what was taken before its noes.")
    ] = Loss.answer,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Questions in a batch.")] = 4,
    accumulation: Annotated[int, typer.Option(min=1, metavar="N", help="Batches before a step.")] = 4,
    load_in_4bit: Annotated[bool, typer.Option("--load-in-4bit", help="Train on a 4-bit base (CUDA).")] = False,
    eval_every: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Steps between validations.", show_default="a quarter of all"),
    ] = None,
    patience: Annotated[int, typer.Option(min=1, metavar="N", help="Validations without gain before the end.")] = 3,
    quantise: Annotated[Quantisation, typer.Option("--quantise", help="Weights of the merged model.")] = (
        Quantisation.q8_0
    ),
    max_delta: Annotated[
        float, typer.Option(min=0.0, help="Gate: median change of log-odds that the adapter may have.")
    ] = 0.05,
    min_correlation: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="Gate: rank correlation that the merged model must have.")
    ] = 0.99,
    llama_cpp: Annotated[
        Path | None,
        typer.Option(
            "--llama-cpp", metavar="DIR", envvar="MSR_LOCAL_LLAMA_CPP", file_okay=False,
            help="A llama.cpp checkout to convert with.", show_default="that of the installed release",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the sampling and the training.")] = 0,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Train a recommender on the workspace's histories, and prove it.

    Makes yes/no questions of what people took next, trains a LoRA on them, exports it for llama.cpp, and
    registers it once the engine is shown to answer as the trained model does. A run that was stopped goes on
    when the same command is given again.
    """
    from ..training.convert import converter
    from ..training.finetune import Finetuning, Listener, prepare, require_training_packages
    from ..training.settings import Settings

    session: opt.Session = context.obj
    settings = Settings(
        base=base, recipe=recipe.value, block_size=block_size, window=history, rows=rows, ratio=ratio,
        negatives=negatives.value, split=split.value if split else None, validation_rows=validation_rows,
        max_length=max_length, backend=backend.value,
        rank=rank, alpha=alpha, dropout=dropout, learning_rate=lr, epochs=epochs, loss=loss.value,
        batch=batch,
        accumulation=accumulation, load_in_4bit=load_in_4bit, eval_every=eval_every, patience=patience, seed=seed,
        threads=threads, quantisation=quantise.value, max_delta=max_delta, min_correlation=min_correlation,
    )  # fmt: skip

    def tools() -> Path:
        return converter(llama_cpp, session.output.note)

    with session.workspace() as workspace:
        with session.output.progress() as progress:  # over before anything is printed: bars take stdout along
            listener = Listener(progress, session.output.note)
            if dry_run or export:
                require_training_packages()
                made = prepare(workspace, settings, tools, listener)[1]
            else:
                said = _said(context, settings) if resume else {}
                run = Finetuning(workspace, name, settings, tools, listener, resume=resume, changes=said)
                manifest = run.run()
        if dry_run or export:
            _show_set(session, made, export, as_json=as_json)
        else:
            _finish(session, workspace, manifest, run.run_id, activate=activate, as_json=as_json)


def _said(context: typer.Context, settings: Settings) -> dict[str, Any]:
    """The settings that were written on the command line."""
    fields = {"history": "window", "lr": "learning_rate", "quantise": "quantisation"}
    options = [one.name for one in context.command.params if one.name and opt.given(context, one.name)]
    given = [fields.get(option, option) for option in options]
    return {field: getattr(settings, field) for field in given if hasattr(settings, field)}


def _show_set(session: opt.Session, made: Questions, export: Path | None, *, as_json: bool) -> None:
    from ..training.rows import export as write

    if export:
        write(export, made.train)
        session.output.note(f"{len(made.train):,} rows written to {export}.")
    shown = made.train[:_SHOWN]
    rows = [{"prompt": row.prompt, "completion": row.answer, "tokens": len(row.ids)} for row in shown]
    document = {**made.facts(), "rows": rows}
    session.output.result(document, lambda: _set_view(document), as_json=as_json)


def _set_view(document: dict[str, Any]) -> Any:
    from rich.console import Group
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "rows", "yes", "no", "users"):
        table.add_column(column, justify="left" if not column else "right")
    for part in ("train", "validation"):
        table.add_row(part, *(f"{document[part][key]:,}" for key in ("rows", "yes", "no", "users")))
    split = document["split"]
    cut = {
        "time": f"from {split['validation_from']}, test from {split['test_from']}",
        "order": "the last interaction but one of each user, test the last one",
        "users": "a tenth of the users, test another tenth",
    }[split["kind"]]
    tokens = "  ".join(f"{name} {value:,}" for name, value in document["tokens"].items())
    lines = [
        f"Validation {cut}.",
        f"Tokens of a question: {tokens}.",
        f"Shortened to fit: history {document['history_shortened']:,}, descriptions "
        f"{document['descriptions_shortened']:,}.",
    ]
    parts: list[Any] = [table, Text("\n".join(lines))]
    for number, row in enumerate(document["rows"], start=1):
        # Line by line: a prompt's line ends are ours, all else in it is data.
        prompt = "\n".join(printable(line) for line in row["prompt"].split("\n"))
        parts += [Rule(f"row {number}, {row['tokens']} tokens", style="dim"), Text(prompt + row["completion"])]
    return Group(*parts)


def _finish(
    session: opt.Session, workspace: Workspace, manifest: Manifest, run_id: str, *, activate: bool, as_json: bool
) -> None:
    from ..errors import MsrError
    from ..models import registry
    from ..store import runs
    from ..viewer.curve import curve_png
    from .adapters import use_adapter

    steps = runs.steps(workspace, run_id)
    picture = registry.folder(workspace, manifest.name) / "curve.png"
    try:
        curve_png(picture, steps)
    except MsrError as error:  # no matplotlib: the adapter is as good without its picture
        session.output.note(str(error))
    if activate:
        use_adapter(workspace, manifest.name)
    run = runs.run(workspace, run_id)
    document = {**manifest.to_json(), "run": run.metrics if run else {}, "active": activate, "curve": str(picture)}
    session.output.result(document, lambda: _result_view(document, steps), as_json=as_json)
    if not activate:
        session.output.note(f"Next: msr-local adapters use {manifest.name}, then msr-local recommend USER.")


def _result_view(document: dict[str, Any], steps: list[Any]) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from ..viewer.curve import curve_view

    metrics, parity = document["metrics"], document["parity"]
    auc = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("validation AUC of p(yes)", "", "95% interval"):
        auc.add_column(column)
    labels = {
        "before": "before training", "after": "after training", "merged": f"merged, {_kind(document, 'merged')}",
        "recall": "recall alone", "fused": "after training, fused with recall",
    }  # fmt: skip
    for name, label in labels.items():
        value, (low, high) = metrics[name]["auc"]["value"], metrics[name]["auc"]["ci95"]
        auc.add_row(label, *(("-", "-") if value is None else (f"{value:.3f}", f"{low:.3f} to {high:.3f}")))
    same = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("parity with transformers", "median |dz|", "max |dz|", "rank correlation", "size"):
        same.add_column(column, justify="left" if column.startswith("parity") else "right")
    for form in ("adapter", "merged"):
        one = parity[form]
        size = document["files"][form]["bytes"] / 1e6
        same.add_row(
            f"{form}, {_kind(document, form)}", f"{one['median_dz']:.4f}", f"{one['max_dz']:.4f}",
            f"{one['rank_correlation']:.4f}", f"{size:.0f} MB",
        )  # fmt: skip
    gap = metrics["calibration_error"]
    active = "and answers from now on" if document["active"] else "but does not answer yet"
    last = (
        f"Calibration error {gap['before']:.3f}, {gap['after']:.3f} after scaling. " if gap["after"] is not None else ""
    )
    return Group(
        curve_view(steps), Text(""), auc, Text(""), same, Text(""),
        Text(f"{last}Adapter {document['name']} is registered {active}. Curve: {document['curve']}"),
    )  # fmt: skip


def _kind(document: dict[str, Any], form: str) -> str:
    return str(document["files"][form]["quantisation"])
