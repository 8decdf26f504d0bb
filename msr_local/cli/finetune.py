"""`msr-local finetune`: from the workspace's histories to a recommender of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..training.settings import Settings
from . import options as opt

if TYPE_CHECKING:
    from ..models.manifest import Manifest
    from ..store.workspace import Workspace

# Names that the library has in modules which are slow to import; a test holds them against it.
Backend = Literal["auto", "unsloth", "peft"]
Quantisation = Literal["f16", "q8_0", "q4_0", "q4_k_m"]
Loss = Literal["answer", "ranking", "residual"]
_DEFAULT = Settings()


def _settings(
    base: Annotated[
        str, typer.Option(metavar="BASE", help="The base model: embedded, a Hugging Face folder, or a hub id.")
    ] = _DEFAULT.base,
    backend: Annotated[Backend, typer.Option(help="What trains: PEFT or Unsloth.")] = "auto",
    recipe: Annotated[opt.RecipeName, typer.Option(help=opt.RECIPE_HELP)] = _DEFAULT.recipe,
    block_size: Annotated[int, opt.number(opt.BLOCK_SIZE_HELP)] = _DEFAULT.block_size,
    window: Annotated[int, opt.number(opt.WINDOW_HELP, "--window")] = _DEFAULT.window,
    rows: Annotated[int, opt.number("Train on N questions, positives and negatives.", least=8)] = _DEFAULT.rows,
    negatives: opt.NegativesOption = "uniform",
    ratio: opt.Ratio = _DEFAULT.ratio,
    split: opt.SplitOption = None,
    validation_rows: Annotated[int, opt.number("Validate on N questions.", least=8)] = _DEFAULT.validation_rows,
    max_length: Annotated[int, opt.number("Shorten questions of more than N tokens.", least=64)] = _DEFAULT.max_length,
    epochs: Annotated[float, opt.number("Pass N times over the training questions.", least=0.01)] = _DEFAULT.epochs,
    rank: Annotated[int, opt.number("Rank of the LoRA.", most=512)] = _DEFAULT.rank,
    alpha: Annotated[int, opt.number("Alpha of the LoRA: its scale is alpha / rank.")] = _DEFAULT.alpha,
    dropout: Annotated[float, opt.number("Dropout of the LoRA's input.", least=0.0, most=0.9)] = _DEFAULT.dropout,
    learning_rate: Annotated[
        float | None,
        opt.number("Learning rate.", "--lr", least=1e-8, most=1.0, default="2e-5 from 1B parameters on, else 3e-4"),
    ] = _DEFAULT.learning_rate,
    loss: Annotated[
        Loss,
        typer.Option(
            help="answer: learn the answers; ranking: learn also to rank each positive above its negatives; residual: "
            "learn to do so together with recall."
        ),
    ] = "answer",
    batch: Annotated[int, opt.number("Questions per batch.")] = _DEFAULT.batch,
    accumulation: Annotated[int, opt.number("Batches per step of the optimiser.")] = _DEFAULT.accumulation,
    load_in_4bit: Annotated[bool, opt.flag("--load-in-4bit", "Train on the base model in 4 bits (CUDA).")] = False,
    eval_every: Annotated[
        int | None, opt.number("Validate every N steps.", default="a quarter of all")
    ] = _DEFAULT.eval_every,
    patience: Annotated[int, opt.number("Stop after N validations without a better AUC.")] = _DEFAULT.patience,
    quantisation: Annotated[
        Quantisation, typer.Option("--quantise", help="Weight type of the merged model.")
    ] = "q8_0",
    max_delta: Annotated[
        float,
        opt.number("Refuse the adapter if the median difference between its log-odds in llama.cpp and in training is "
                   "above N.", least=0.0),
    ] = _DEFAULT.max_delta,
    min_correlation: Annotated[
        float,
        opt.number("Refuse the adapter if the rank correlation between its merged model and training is below N.",
                   least=-1.0, most=1.0),
    ] = _DEFAULT.min_correlation,
    seed: opt.Seed = _DEFAULT.seed,
    threads: opt.Threads = _DEFAULT.threads,
) -> Settings:  # fmt: skip
    return Settings(**locals())


@opt.gathered("settings", _settings)
def finetune(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call the adapter.")] = "recommender",
    activate: Annotated[bool, opt.flag("--activate", "Let the adapter answer from then on.")] = False,
    resume: Annotated[bool, opt.flag("--resume", "Continue the stopped run of this name, as it began.")] = False,
    dry_run: Annotated[bool, opt.flag("--dry-run", "Make the training set, show it, and stop.")] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make the training set, write it as JSON lines, and stop.")
    ] = None,
    llama_cpp: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", envvar="MSR_LOCAL_LLAMA_CPP", file_okay=False,
            help="A checkout of llama.cpp, for its converter.", show_default="that of the installed release",
        ),
    ] = None,
    *,
    settings: Settings,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Train an adapter (LoRA) on the histories.

    Each training question asks whether a user will take an item next, at some moment of the user's history.
    Positives are items that the user took next; negatives are others. The trained adapter is exported for
    llama.cpp, and registered if llama.cpp then answers as the trained model does. A run that was stopped goes on
    when the same command is given again.
    """
    from ..training import finetune as library
    from ..training.bases import resolve
    from ..training.convert import converter
    from ..training.rows import export as write_rows
    from ..viewer.finetuning import questions_view

    session: opt.Session = ctx.obj
    if export is not None and not export.parent.is_dir():
        raise typer.BadParameter(f"--export {export}: there is no folder {export.parent}.")
    if resume and (dry_run or export):
        raise typer.BadParameter("--resume continues a run, and --dry-run and --export begin none.")
    tools = partial(converter, llama_cpp, session.output.note)
    with session.workspace() as workspace:
        with session.output.progress() as progress:  # over before anything is printed: bars take stdout along
            listener = library.Listener(progress, session.output.note)
            if dry_run or export:
                library.require_training_packages()
                base = resolve(settings.base, tools, note=listener.note)
                made = library.prepare(workspace, settings, base, listener)[0]
            else:
                written = {one: value for one, value in settings.to_json().items() if one in opt.given(ctx)}
                changes = written if resume else {}
                run = library.Finetuning(workspace, name, settings, tools, listener, resume=resume, changes=changes)
                manifest = run.run(lambda made: _finish(session, workspace, made, activate=activate))
        if not (dry_run or export):
            _show(session, workspace, manifest, activate=activate, as_json=as_json)
            return
    if export:
        write_rows(export, made.train)
        session.output.note(f"Wrote {len(made.train):,} training questions to {export}.")
    document = library.questions_document(made)
    session.output.result(document, lambda: questions_view(document), as_json=as_json)


def _finish(session: opt.Session, workspace: Workspace, manifest: Manifest, *, activate: bool) -> None:
    """Activate the adapter if asked to, and draw the curve."""
    from ..errors import MsrError
    from ..models.choice import use_adapter
    from ..store import runs
    from ..viewer.curve import curve_png

    if activate:
        use_adapter(workspace, manifest.name)
    picture = _curve(workspace, manifest)
    try:
        curve_png(picture, runs.steps(workspace, manifest.run_id))
    except MsrError as error:  # no matplotlib: the adapter is as good without its picture
        session.output.note(str(error))
    except Exception as error:  # whatever a drawing library may raise: fonts, caches, a full disk
        session.output.note(f"{picture}: not drawn ({type(error).__name__}: {error}). The adapter is there without it.")


def _curve(workspace: Workspace, manifest: Manifest) -> Path:
    from ..models import registry

    return registry.folder(workspace, manifest.name) / "curve.png"


def _answers(workspace: Workspace, manifest: Manifest) -> bool:
    """Whether the adapter is the one that answers: it may have taken the place of one that did."""
    from ..errors import MsrError
    from ..models.choice import cast

    try:
        scorer = cast(workspace).scorer
    except MsrError:  # it may have another base than the one before
        return False
    return scorer is not None and scorer.run_id == manifest.run_id


def _show(session: opt.Session, workspace: Workspace, manifest: Manifest, *, activate: bool, as_json: bool) -> None:
    """Show what came of the run."""
    from ..store import runs
    from ..training.finetune import run_document
    from ..viewer.finetuning import outcome_view

    steps, picture = runs.steps(workspace, manifest.run_id), _curve(workspace, manifest)
    active = activate or _answers(workspace, manifest)
    document = {
        **run_document(workspace, manifest),
        "active": active,
        "curve": str(picture) if picture.exists() else None,
    }
    session.output.result(document, lambda: outcome_view(document, steps), as_json=as_json)
    if not active:
        session.output.note(f"Next: msr-local adapters use {manifest.name}, then msr-local recommend USER.")
