"""What the rest of the project knows of a model runtime: prompts in, text and log-odds out.

Knows nothing of llama.cpp, of prompts' wording or of the workspace. A prompt is a sequence of parts. Only a
`Text` with `special=True` may hold chat-control tokens; it comes from a chat template. Everything else,
item titles above all, is tokenised as plain text, so that no data can open or close a turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ..arrays import Floats


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of prompt text; `special=True` only for text from a chat template."""

    text: str
    special: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A decoded picture: `pixels` holds `width * height * 3` bytes of RGB, row by row."""

    width: int
    height: int
    pixels: bytes = field(repr=False)
    sha256: str

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or len(self.pixels) != 3 * self.width * self.height:
            raise ValueError(f"{len(self.pixels)} bytes are no {self.width}x{self.height} RGB picture")


Prompt = Sequence[Text | Image]
LONGEST = 256  # tokens that are read of a text for its vector
IMAGE_CELL = -1  # stands in a list of token ids for one cell of the context that a picture's vectors fill


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Which weights to load and how. `adapters` maps a role to a LoRA file in GGUF."""

    model: Path
    projector: Path | None = None
    adapters: dict[str, Path] = field(default_factory=dict)
    context: int = 4096
    threads: int | None = None
    image_detail: Literal["overview", "tiles"] = "overview"
    states: Path | None = None  # a folder of these very weights' own, where states of long prefixes are kept


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a loaded model says of itself. `yes` and `no` are the single-token variants that exist."""

    name: str
    context: int
    vision: bool
    chat_template: str | None
    bos: str
    eos: str
    add_bos: bool
    yes: tuple[str, ...]
    no: tuple[str, ...]
    threads: int
    system: str  # what the native build can use, in llama.cpp's words


@dataclass(frozen=True, slots=True)
class LogOdds:
    """The answer to a yes/no question, read from the logits of the next token.

    `z` = log p(yes) - log p(no) over all single-token spellings; `coverage` = p(yes or no) in the full
    softmax (low: the model would rather have said something else, namely `top`).
    """

    z: float
    coverage: float
    top: str


@dataclass(frozen=True, slots=True)
class Generation:
    """Generated text; `ended` is False where the cap on tokens cut it off."""

    text: str
    tokens: int
    ended: bool


class Engine(Protocol):
    """One loaded model. Not thread-safe. Every method raises `ContextOverflow` for an over-long prompt."""

    @property
    def facts(self) -> ModelFacts: ...

    def count_tokens(self, prompt: Prompt) -> int:
        """How many cells of the context `prompt` takes."""
        ...

    def token_ids(self, prompt: Prompt) -> list[int]:
        """The ids of a prompt exactly as they are decoded; each cell of a picture is `IMAGE_CELL`."""
        ...

    def log_odds(self, prefix: Prompt, suffixes: Sequence[Prompt], *, adapter: str | None = None) -> Iterator[LogOdds]:
        """The log-odds of yes after `prefix + suffix`, one by one in order; the prefix is decoded once.

        A suffix ends in text. Read the iterator before the next call: a newer call ends it.
        """
        ...

    def generate(
        self,
        prefix: Prompt,
        suffix: Prompt,
        *,
        adapter: str | None = None,
        max_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        repeat_penalty: float = 1.0,
        said: str = "",
    ) -> Generation:
        """Continue `prefix + suffix`; greedy at temperature 0, else sampled with `seed`.

        `repeat_penalty` over 1 makes the last 160 generated tokens less likely to come again; the tokens of
        `said` count as generated before.
        """
        ...

    def generate_many(
        self,
        prefix: Prompt,
        suffixes: Sequence[Prompt],
        *,
        adapter: str | None = None,
        max_tokens: int = 128,
        repeat_penalty: float = 1.0,
        said: Sequence[str] = (),
    ) -> Iterator[tuple[int, Generation]]:
        """Continue `prefix + suffix` for each suffix, greedily, as many at a time as fit; `said` holds one text each.

        Yields (place of the suffix, its text) as each is finished; a text that ends makes room for the next
        suffix. `ContextOverflow` comes when all suffixes before the over-long one are finished: the first that has
        no text is the one. A suffix ends in text. Read the iterator before the next call: a newer call ends it.
        """
        ...

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        """(place, what the model makes of a text, shape [D]) of each text, as they come; adapters have no part in it.

        The mean over its tokens of the hidden states in the middle of the model, each scaled to length sqrt(D). A text
        is read as plain text, its first `LONGEST` tokens; it has at least one. Read the iterator before the next call.
        """
        ...

    def close(self) -> None: ...
