"""What the rest of the project knows of a model runtime: questions in, text and log-odds out.

Knows nothing of llama.cpp, of prompts' wording or of the workspace. A `Question` is plain data, so that it can be sent
to another process or machine; the engine puts the model's chat markup around it. Everything in a question is
tokenised as plain text, so that no data, item titles above all, can open or close a turn.

Below that, for those who train or measure on the very tokens, a `TokenEngine` speaks of prompts: sequences of parts,
of which only a `Text` with `special=True`, from a chat template, may hold control tokens.
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
            raise ValueError(f"{len(self.pixels)} bytes are not a {self.width}x{self.height} RGB picture")


IMAGE_MARK = "\ufffc"  # OBJECT REPLACEMENT CHARACTER: stands in a question where the picture goes
API_KEY = "MSR_LOCAL_API_KEY"  # the environment variable with the key of a server that wants one
CAPTION, SUMMARY, SCORE = "caption", "summary", "score"  # roles: what a question is asked for, and a LoRA is tuned for


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a model, before the chat markup.

    `shared` is the beginning of the user's turn that many questions have in common: it is read once for all of them.
    `own` is the rest, with `IMAGE_MARK` where `image` goes, if there is one. `opening` holds the first words of the
    model's answer.
    """

    system: str
    shared: str
    own: str
    image: Image | None = None
    opening: str = ""


@dataclass(frozen=True, slots=True)
class Writing:
    """How to write answers: greedily at temperature 0, else sampled with `seed`.

    `repeat_penalty` over 1 makes the last 160 written tokens less likely to come again; the tokens of `said`, one text
    for each question, count as written before.
    """

    role: str = ""  # whose LoRA writes, where the engine has one for it
    max_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0
    repeat_penalty: float = 1.0
    said: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do.

    `log_odds`: "exact", from the logits of all spellings of yes and no; "top", from those that a server reports; or
    "none". `reads`: it gives vectors of texts. `tokens`: it is a `TokenEngine`.
    """

    context: int  # tokens
    sees: bool
    log_odds: Literal["exact", "top", "none"]
    reads: bool
    tokens: bool


Prompt = Sequence[Text | Image]
IMAGE_TOKENS = 256  # cells of the context that a picture may fill: what a laptop bears
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
    image_tokens: int = IMAGE_TOKENS
    copy: Path | None = None  # the same weights in F16, which are loaded instead
    gpu_layers: int | None = None  # as many layers on a GPU; None: all that llama.cpp puts there
    states: Path | None = None  # a folder of these very weights' own, where states of long prefixes are kept

    @property
    def name(self) -> str:
        """The model, for people."""
        return self.model.name


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Which model of which server to ask, and how. The key comes from the environment only, and is kept nowhere."""

    url: str  # as http://localhost:8080/v1
    model: str = ""  # "": the only one that the server has
    sees: bool = False
    context: int = 4096  # tokens
    together: int = 4  # questions on their way at once
    timeout: float = 300.0  # seconds without an answer
    retries: int = 4  # of a question, with growing pauses, where the server is busy or cannot be reached

    @property
    def name(self) -> str:
        """The model, for people."""
        return f"{self.url}#{self.model}" if self.model else self.url


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
    gpu: bool = False  # whether the native build can use one
    around: str = ""  # text that goes before a picture and after it

    @property
    def can(self) -> Capabilities:
        """What llama.cpp can do with this model."""
        exact = bool(self.yes and self.no)
        return Capabilities(self.context, self.vision, "exact" if exact else "none", reads=True, tokens=True)


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
    """One loaded model. Not thread-safe. Read an iterator before the next call: a newer call ends it."""

    @property
    def can(self) -> Capabilities: ...

    def fits(self, question: Question, room: int) -> bool:
        """Whether the question, with its chat markup, takes at most `room` tokens of the context."""
        ...

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        """The log-odds of yes for each question, in order, under the LoRA for `SCORE` if there is one.

        What neighbours share is read once. What one gets does not depend on the others. Raises `ContextOverflow` at an
        over-long question, when all before it are answered, and `AnswerTokensError` where p(yes) cannot be read.
        """
        ...

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        """The texts that answer the questions, many at a time: (place of the question, its text) as each is finished.

        Raises `ContextOverflow` when all questions before the over-long one are finished: the first that has no text is
        the one.
        """
        ...

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        """(place, what the model makes of a text, shape [D]) of each text, as they come; adapters have no part in it.

        The mean over its tokens of the hidden states in the middle of the model, each scaled to length sqrt(D). A text
        is read as plain text, its first `LONGEST` tokens; it has at least one.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A question in a model's chat format: `prefix` is the same for questions that share their beginning."""

    prefix: tuple[Text | Image, ...]
    suffix: tuple[Text | Image, ...]


class TokenEngine(Engine, Protocol):
    """An engine whose tokens can be seen: for training and for the gate that compares the engine with transformers."""

    @property
    def facts(self) -> ModelFacts: ...

    def rendered(self, question: Question) -> Rendered:
        """The question as the model reads it. Raises `ModelError` for a model without a usable chat template."""
        ...

    def token_ids(self, prompt: Prompt) -> list[int]:
        """The ids of a prompt exactly as they are decoded; each cell of a picture is `IMAGE_CELL`."""
        ...

    def log_odds(self, prefix: Prompt, suffixes: Sequence[Prompt], *, adapter: str | None = None) -> Iterator[LogOdds]:
        """As `answers`, of prompts: the log-odds of yes after `prefix + suffix`. A suffix ends in text.

        `adapter` is the role of the LoRA to use. Raises `ModelError` where none was loaded for it.
        """
        ...
