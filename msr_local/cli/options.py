"""Options that several commands share, and what they become."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..models.asking import Asking
from ..progress import Progress
from ..recipes import RECIPES
from .output import Output

if TYPE_CHECKING:
    from ..engine.types import Engine, EngineConfig, ServerConfig
    from ..recipe.recommender import Recommender
    from ..recipes import Recipe
    from ..store.workspace import Workspace

    RecipeName = str
    Opening = Callable[[EngineConfig | ServerConfig], Engine]
else:
    RecipeName = Literal[tuple(RECIPES)]

# Names that the library has in modules which are slow to import; a test holds them against it.
Negatives = Literal["uniform", "popularity", "hard"]
SplitKind = Literal["time", "order", "users"]
ImageDetail = Literal["overview", "tiles"]


def number(help: str, *names: str, least: float = 1, most: float | None = None, default: str | bool = True) -> Any:
    """An option that takes a number from `least` to `most`; `default` is what its help says of it, if not the value."""
    return typer.Option(*names, min=least, max=most, metavar="N", help=help, show_default=default)


def flag(name: str, help: str) -> Any:
    """An option that is given or not, without a value."""
    return typer.Option(name, help=help)


def readable(help: str, *names: str, default: str | bool = False) -> Any:
    """An option that takes a file which is there."""
    return typer.Option(*names, exists=True, dir_okay=False, metavar="FILE", help=help, show_default=default)


RECIPE_HELP = (
    "What the prompt holds. full: everything; paper: no titles of the history, not what similar users chose; no-image: "
    "no picture, no caption; history: no preference summary."
)
BLOCK_SIZE_HELP = "Each step of the preference summary reads N interactions."
WINDOW_HELP = "The preference summary covers the last N interactions at most."

Json = Annotated[bool, flag("--json", "Print the result as one JSON document.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="SPEC",
        show_default="the workspace's",
        help="A language model: FILE.gguf, ORG/REPO[:QUANT] that was pulled, an alias, or embedded.",
    ),
]
Projector = Annotated[
    str | None,
    typer.Option(
        "--mmproj",
        metavar="FILE|none",
        show_default="the one beside it",
        help="The projector of --model, with which it sees pictures; none: it sees none.",
    ),
]
Threads = Annotated[int | None, number("Use N CPU threads.", most=512, default="all that are free")]
RecipeOption = Annotated[
    RecipeName | None, typer.Option("--recipe", help=RECIPE_HELP, show_default="the adapter's, else full")
]
BlockSize = Annotated[int | None, number(BLOCK_SIZE_HELP, default="the adapter's, else 3")]
Window = Annotated[int | None, number(WINDOW_HELP, "--window", default="the adapter's, else 30")]
Top = Annotated[int, number("Recommend N items.", "-k", "--top")]
Candidates = Annotated[int, number("The model scores the N best candidates of recall at most.")]
Look = Annotated[
    int, number("Re-ask the N best candidates (at least k) with their pictures, if the recipe has any.", least=0)
]
Ask = Annotated[
    Literal["enough", "all"],
    typer.Option(help="About how many candidates the model is asked. enough: until the list can hardly change."),
]
Miss = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, metavar="P",
        help="It is enough when each other candidate belongs to the list with probability P at most.",
    ),
]  # fmt: skip
NegativesOption = Annotated[
    Negatives,
    typer.Option(
        help="How negatives are drawn. uniform: all items alike; popularity: in proportion to their interactions; "
        "hard: from the candidates of recall."
    ),
]
Ratio = Annotated[int, number("Draw N negatives per positive.", "--negatives-per-positive")]
SplitOption = Annotated[
    SplitKind | None,
    typer.Option(
        help="What is held back for validation and test. time: all after a point in time; order: each user's last "
        "interactions; users: a fifth of the users.",
        show_default="as fits the data",
    ),
]
Seed = Annotated[int, number("Seed of all random choices.", least=0)]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION", show_default=False,
        help="Only items that meet it: category=shoes and (price<100 or \"on sale\"=yes). Comparisons: = != < <= > >=.",
    ),
]  # fmt: skip
Only = Annotated[
    Path | None, readable("Only items of this list: an id a line, or a table with a column item_id.", "--only")
]
Exclude = Annotated[Path | None, readable("No items of this list, which is like that of --only.", "--exclude")]
MaxCaptions = Annotated[int | None, number("Caption N pictures at most now.", least=0, default="all")]

_TOLD = 5  # pictures that could not be shown

Command = Callable[..., None]


def gathered(name: str, make: Callable[..., Any], only: Collection[str] = ()) -> Callable[[Command], Command]:
    """A decorator: the parameters of `make`, or `only` these, are options of the command.

    They stand where the command has its argument `name`, which gets what `make` makes of them.
    """
    known = inspect.signature(make, eval_str=True).parameters.values()
    options = [one for one in known if not only or one.name in only]

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [more for one in own for more in (options if one.name == name else [one])]

        @functools.wraps(command)
        def call(**given: Any) -> None:
            made = make(**{one.name: given.pop(one.name) for one in options})
            command(**given, **{name: made})

        keyword = inspect.Parameter.KEYWORD_ONLY
        signature = inspect.Signature([one.replace(kind=keyword) for one in parameters])
        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__annotations__ = {one.name: one.annotation for one in parameters}
        return call

    return decorate


def _asking(
    recipe: RecipeOption = None,
    block_size: BlockSize = None,
    window: Window = None,
    direct: Annotated[bool, flag("--direct", "Summarise in one step instead of block by block.")] = False,
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter", metavar="NAME|none", help="The adapter (LoRA) that answers; none: the plain model.",
            show_default="the active one",
        ),
    ] = None,
    model: Model = None,
    projector: Projector = None,
    image_detail: Annotated[
        ImageDetail,
        typer.Option(help="What SmolVLM sees of a picture. overview: a small copy; tiles: enlarged parts of it too."),
    ] = "overview",
    image_tokens: Annotated[
        int, number("Tokens that a picture may take, where the model leaves a choice.", least=16)
    ] = 256,
    gpu_layers: Annotated[
        int | None,
        typer.Option("--gpu-layers", min=0, help="Layers of the model on a GPU; 0: none.", show_default="all that fit"),
    ] = None,
    as_is: Annotated[bool, flag("--as-is", "Compute with a quantised model itself, not with an F16 copy.")] = False,
    context: Annotated[int, number("Tokens that the model's context holds.", least=256)] = 4096,
    threads: Threads = None,
) -> Asking:  # fmt: skip
    return Asking(**locals())


def asking(*only: str) -> Callable[[Command], Command]:
    """A decorator: the command gets one `asking: Asking`, and its options; with names, only these of its fields."""
    return gathered("asking", _asking, only)


@dataclass(frozen=True, slots=True)
class Engines:
    """Where questions are answered: by one engine, by several processes, or by those of a Ray cluster."""

    workers: int | None
    ray: str | None

    @contextlib.contextmanager
    def opening(self) -> Iterator[Opening]:
        """What opens an engine for a configuration. Raises `MsrError` where there is no such cluster."""
        from ..models.spec import open_engine

        if self.ray is not None:
            from ..engine.cluster import clustered

            with clustered(self.ray, open_engine, self.workers) as opened:
                yield opened
        elif self.workers and self.workers > 1:
            from ..engine.pool import pooled

            yield pooled(open_engine, self.workers)
        else:
            yield open_engine


def _engines(
    workers: Annotated[
        int | None,
        number(
            "Ask with N processes at once. They share the CPU threads, unless --threads says how many each one uses.",
            most=4096, default="1; with --ray, all that there is room for",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="local|HOST:PORT", show_default=False,
            help="Ask on the machines of this Ray cluster; local: one that is started on this machine.",
        ),
    ] = None,
) -> Engines:  # fmt: skip
    return Engines(workers, ray)


def engines() -> Callable[[Command], Command]:
    """A decorator: the command gets `engines: Engines`, and its options."""
    return gathered("engines", _engines)


def given(ctx: typer.Context) -> set[str]:
    """The parameters that were written on the command line, rather than left at their defaults."""
    names = {one.name for one in ctx.command.params if one.name}
    return {name for name in names if str(ctx.get_parameter_source(name)).endswith("COMMANDLINE")}


def group(help: str, default: Callable[[typer.Context], None] | None = None) -> typer.Typer:
    """Commands under one name; the name alone runs `default`, or prints their help."""
    made = typer.Typer(rich_markup_mode=None)

    @made.callback(invoke_without_command=True, help=help)
    def alone(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            default(ctx) if default else typer.echo(ctx.get_help())

    return made


@dataclass(slots=True)
class Session:
    """What the global options say: where the workspace is and how to write."""

    home: Path
    home_given: bool  # by --home or MSR_LOCAL_HOME
    output: Output

    def workspace(self, home: Path | None = None) -> Workspace:
        """Open the workspace; its folder is made if it is not there."""
        from ..store.workspace import Workspace

        return Workspace(home or self.home)

    @contextlib.contextmanager
    def answering(self, asking: Asking) -> Iterator[Recommender]:
        """The recommender that `asking` asks for, in the workspace, with its progress shown."""
        with (
            self.workspace() as workspace,
            self.output.progress() as progress,
            self.recommender(workspace, progress, asking) as recommender,
        ):
            if workspace.read_only:
                self.output.note(f"{workspace.path} is read-only: what is not stored yet is asked anew, and not kept.")
            yield recommender
            self.note_unseen(recommender)

    def note_unseen(self, recommender: Recommender) -> None:
        """Say which items were asked about without their pictures, because those could not be shown."""
        for item_id, why in list(recommender.judge.unseen.items())[:_TOLD]:
            self.output.note(f"Item {item_id!r} was asked about without its picture: {why}")
        if len(recommender.judge.unseen) > _TOLD:
            self.output.note(f"  … and {len(recommender.judge.unseen) - _TOLD:,} others. Next: ingest again.")

    def note_misfit(self, workspace: Workspace) -> None:
        """Say what is wrong with the adapter that comes with msr-local, if the embedded model is to answer with it."""
        from ..models import shipped
        from ..models.choice import chosen_model

        if not chosen_model(workspace) and (complaint := shipped.complaint(shipped.RECOMMENDER)):
            self.output.note(complaint)

    def recommender(
        self, workspace: Workspace, progress: Progress, asking: Asking | None = None, recipe: Recipe | None = None,
        opening: Opening | None = None,
    ) -> Recommender:  # fmt: skip
        """The recommender that `asking` asks for, with another `recipe` and other engines if such are given."""
        from dataclasses import replace

        from ..models import embedded
        from ..models.choice import cast, chosen_model
        from ..models.names import EMBEDDED
        from ..models.spec import open_engine
        from ..recipe.recommender import Recommender

        wanted = asking or Asking()
        plain = wanted.model in (None, EMBEDDED) and not (wanted.model is None and chosen_model(workspace))
        if plain and not embedded.prepared_path().exists():
            self.output.note(f"Preparing the embedded model, once: {embedded.prepared_path()} (270 MB).")
        found = cast(workspace, wanted, self.output.note)
        tuned = found.scorer.recipe if found.scorer else None
        if tuned and found.scorer and found.recipe != tuned and recipe is None:
            self.output.note(
                f"Adapter {found.scorer.name} was trained with another recipe ({tuned.name}, blocks of "
                f"{tuned.block_size}, the last {tuned.window} interactions) than this one."
            )
        found = replace(found, recipe=recipe or found.recipe)
        return Recommender(workspace, found, progress=progress, open_engine=opening or open_engine)
