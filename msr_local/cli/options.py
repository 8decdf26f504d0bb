"""Options that several commands share, and what they become."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..progress import Progress
from .output import Output

if TYPE_CHECKING:
    from ..recipe.recommender import Recommender
    from ..store.workspace import Workspace

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model", exists=True, dir_okay=False, metavar="FILE", help="Answer with this GGUF model.", show_default=False
    ),
]
Mmproj = Annotated[
    Path | None,
    typer.Option(
        "--mmproj", exists=True, dir_okay=False, metavar="FILE", help="Its multimodal projector.", show_default=False
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, max=512, metavar="N", help="CPU threads.", show_default="all that may be used")
]
Context = Annotated[int, typer.Option("--context", min=256, metavar="N", help="Tokens of context.")]


class ImageDetail(str, Enum):
    """How much of a picture a SmolVLM looks at."""

    overview = "overview"
    tiles = "tiles"


Detail = Annotated[
    ImageDetail, typer.Option("--image-detail", help="SmolVLM: the whole picture only, or tiles as well.")
]


class RecipeName(str, Enum):
    """The recipes by name."""

    full = "full"
    paper = "paper"
    no_image = "no-image"
    history = "history"


RecipeOption = Annotated[
    RecipeName | None,
    typer.Option("--recipe", help="The evidence in the question.", show_default="the adapter's, else full"),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter", metavar="NAME|none", help="The tuned recommender that answers.", show_default="the active one"
    ),
]
BlockSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Interactions that one summary step reads.", show_default="3")
]
History = Annotated[
    int | None,
    typer.Option("--history", min=1, metavar="N", help="Summarise at most the last N interactions.", show_default="30"),
]
Direct = Annotated[bool, typer.Option("--direct", help="One summary at once instead of block by block.")]
Top = Annotated[int, typer.Option("-k", "--top", min=1, metavar="N", help="How many items to recommend.")]
Candidates = Annotated[int, typer.Option("--candidates", min=1, metavar="N", help="How many recalled items to score.")]

Look = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", help="If the question has pictures: look at those of the N (at least k) best without."
    ),
]


def given(context: typer.Context, option: str) -> bool:
    """Whether an option was written on the command line, rather than left at its default."""
    return str(context.get_parameter_source(option)).endswith("COMMANDLINE")


@dataclass(slots=True)
class Session:
    """What the global options say: where the workspace is and how to write."""

    home: Path
    home_given: bool
    output: Output

    def workspace(self, home: Path | None = None) -> Workspace:
        """Open the workspace; its folder is made if it is not there."""
        from ..store.workspace import Workspace

        return Workspace(home or self.home)

    def recommender(
        self,
        workspace: Workspace,
        progress: Progress,
        *,
        model: Path | None = None,
        mmproj: Path | None = None,
        adapter: str | None = None,
        threads: int | None = None,
        context: int = 4096,
        detail: ImageDetail = ImageDetail.overview,
        recipe: RecipeName | None = None,
        block_size: int | None = None,
        window: int | None = None,
        direct: bool = False,
    ) -> Recommender:
        """The recipe on `workspace` with the chosen weights and settings; without `recipe`, the adapter's own."""
        from ..models import embedded
        from ..models.choice import choose
        from ..recipe.recommender import Recommender
        from ..recipes import RECIPES, Recipe

        if model is None and not workspace.setting("model") and not embedded.prepared_path().exists():
            self.output.note(f"Preparing the embedded model, once: {embedded.prepared_path()} (270 MB).")
        weights = choose(
            workspace, model, mmproj, adapter=adapter, context=context, threads=threads, image_detail=detail.value
        )
        tuned = Recipe.from_json(weights.scorer.recipe) if weights.scorer else None
        chosen = RECIPES[recipe.value] if recipe else tuned or RECIPES["full"]
        chosen = chosen.with_history(block_size, window, direct or chosen.direct)
        if tuned and chosen != tuned:
            self.output.note(
                f"Adapter {weights.scorer.name} was tuned with another recipe ({tuned.name}, blocks of "  # type: ignore[union-attr]
                f"{tuned.block_size}, the last {tuned.window}): its p(yes) is not calibrated for this one."
            )
        return Recommender(workspace, weights, chosen, progress=progress)
