"""A server that speaks the OpenAI protocol, behind the `Engine` protocol: llama.cpp's, vLLM, LM Studio, Ollama.

What a server cannot do is said, not guessed: p(yes) is read from the most probable tokens that it reports ("top"), or
not at all ("none"); it gives no vectors. A server also makes tokens of what it is sent in its own way, so whatever in
our data looks like chat markup is written otherwise before it goes out.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import numpy as np

from ..arrays import Floats
from ..errors import AnswerTokensError, ContextOverflow, ModelError
from .types import IMAGE_MARK, Capabilities, Generation, Image, LogOdds, Question, ServerConfig, Writing

if TYPE_CHECKING:
    import openai

KEY = "MSR_LOCAL_API_KEY"  # the environment variable with the key of a server that wants one
_TOP = 20  # most probable tokens that are asked for: the most that the protocol allows
_BYTES = 3  # of text in a token, at least on average: to see whether a question fits without asking the server
_MARKUP = 64  # tokens that a chat template may take
_PICTURE = 1024  # tokens that a picture may take
_MARKS = str.maketrans({"<": "‹", ">": "›"})  # no control token is left without these two and what follows
_BRACKETED = re.compile(r"\[(/?[A-Z][A-Z_]+)\]")  # as Mistral's [INST]
_TOO_LONG = re.compile(r"context|too (long|many tokens|large)|maximum.*length|exceed", re.IGNORECASE)
_Answer = TypeVar("_Answer")


class RemoteEngine:
    """A model behind a server. Raises `ModelError` where the server cannot be reached or refuses."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._pool = ThreadPoolExecutor(config.together)

    # ---- what it can do

    @cached_property
    def _client(self) -> openai.OpenAI:
        try:
            import openai
        except ImportError as error:
            raise ModelError(
                "a model behind a server needs the package openai. Next: pip install 'msr-local[remote]'."
            ) from error
        config = self.config
        return openai.OpenAI(
            base_url=config.url, api_key=os.environ.get(KEY) or "none", max_retries=config.retries,
            timeout=config.timeout,
        )  # fmt: skip

    @cached_property
    def model(self) -> str:
        """The name of the model, as the server has it. Raises `ModelError` for one that is not there."""
        with self._telling():
            named = [one.id for one in self._client.models.list().data]
        if self.config.model and named and self.config.model not in named:
            raise ModelError(f"{self._host} has no model {self.config.model!r}. It has: {', '.join(named)}.")
        if not (self.config.model or named):
            raise ModelError(f"{self._host} names no model. Next: write it after the address: {self.config.url}#NAME.")
        return self.config.model or named[0]

    @cached_property
    def can(self) -> Capabilities:
        """What the server can do; it is asked one question to see whether it reports probabilities."""
        chosen = self._ask(Question("Answer Yes or No.", "", "Is the sky blue?"), max_tokens=1, **_PROBABILITIES)
        reported = bool(chosen.logprobs and chosen.logprobs.content and chosen.logprobs.content[0].top_logprobs)
        return Capabilities(
            self.config.context, self.config.sees, "top" if reported else "none", reads=False, tokens=False
        )

    @property
    def _host(self) -> str:
        return f"the server {urlsplit(self.config.url).netloc}"

    def fits(self, question: Question, room: int) -> bool:
        """By a bound: a token is taken for three bytes, as it is at least in most languages."""
        text = "".join([question.system, question.shared, question.own, question.opening])
        picture = _PICTURE if question.image else 0
        return len(text.encode("utf-8", "replace")) / _BYTES + _MARKUP + picture <= room

    # ---- asking

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        if questions and self.can.log_odds == "none":
            raise AnswerTokensError(
                f"{self._host} reports no probabilities (logprobs), so p(yes) cannot be read. Captions and summaries "
                "work. Next: a server that has them, as llama.cpp's, or a model on this machine."
            )
        asked = self._together(lambda one: _log_odds(self._ask(one, max_tokens=1, **_PROBABILITIES)), questions)
        try:
            yield from (one.result() for one in asked)
        finally:
            _give_up(asked)

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        """See `Engine`. Roles and `repeat_penalty` are for models on this machine: a server has neither."""

        def written(question: Question) -> Generation:
            chosen = self._ask(question, max_tokens=how.max_tokens, temperature=how.temperature, seed=how.seed)
            text = _continued(chosen.message.content or "", question.opening)
            return Generation(text, len(text.split()), chosen.finish_reason != "length")

        asked = self._together(written, questions)
        places = {one: place for place, one in enumerate(asked)}
        try:
            for one in as_completed(asked):
                yield places[one], one.result()
        finally:
            _give_up(asked)

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        raise ModelError(f"{self._host} gives no vectors of texts. Next: a model on this machine.")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        if "_client" in self.__dict__:
            self._client.close()

    def _together(self, ask: Callable[[Question], _Answer], questions: Sequence[Question]) -> list[Future[_Answer]]:
        if questions:
            _ = self.model  # what is wrong with the server is said once, before all are sent
        return [self._pool.submit(ask, question) for question in questions]

    def _ask(self, question: Question, **how: Any) -> Any:
        """The first choice of the server's answer."""
        with self._telling():
            answer = self._client.chat.completions.create(
                model=self.model, messages=_messages(question), **{"temperature": 0.0, **how}
            )
        if not answer.choices:
            raise ModelError(f"{self._host} answered without a text.")
        return answer.choices[0]

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of the transport in our words. None of them holds the key."""
        import openai

        try:
            yield
        except openai.APITimeoutError as error:
            self._fail("did not answer in time", "Next: try again; what was answered is kept.", error)
        except openai.APIConnectionError as error:
            self._fail("cannot be reached", "Next: start it, and run this again; what was answered is kept.", error)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            self._fail("refuses the key, or wants one", f"Next: put it into the environment variable {KEY}.", error)
        except openai.APIStatusError as error:
            if error.status_code in (400, 413, 422) and _TOO_LONG.search(str(error.body)):
                raise ContextOverflow(f"a question is longer than {self._host} takes.") from None
            self._fail(f"answered with status {error.status_code}", "Next: look into its log.", error)
        except openai.OpenAIError as error:
            self._fail("gave no usable answer", "Next: is it one that speaks the OpenAI protocol?", error)

    def _fail(self, what: str, then: str, error: Exception) -> NoReturn:
        raise ModelError(f"{self._host} {what} ({type(error).__name__}). {then}") from None


_PROBABILITIES: dict[str, Any] = {"logprobs": True, "top_logprobs": _TOP}


def _messages(question: Question) -> list[Any]:
    """The question as chat messages; a picture goes as a data URL where its mark stands."""
    own, picture = question.own, question.image
    before, _, after = own.partition(IMAGE_MARK) if picture else (own, "", "")
    shared = f"{question.shared}\n\n" if question.shared else ""
    begin = f'\n\nBegin with "{question.opening}".' if question.opening else ""
    first, last = plain(shared + before), plain(after + begin)
    content: Any = first + last
    if picture:
        parts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in (first, last)]
        parts.insert(1, {"type": "image_url", "image_url": {"url": _data_url(picture)}})
        content = [part for part in parts if part.get("text", "-")]
    return [{"role": "system", "content": plain(question.system)}, {"role": "user", "content": content}]


def plain(text: str) -> str:
    """Text in which no server finds chat markup: angle brackets and bracketed capitals are written otherwise."""
    return _BRACKETED.sub(r"(\1)", text.translate(_MARKS))


def _data_url(image: Image) -> str:
    from PIL import Image as Pictures

    file = io.BytesIO()
    Pictures.frombytes("RGB", (image.width, image.height), image.pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _log_odds(chosen: Any) -> LogOdds:
    """z from the most probable tokens. Where one of yes and no is not among them, it is at most as likely as the last.

    So z is then a bound of the true one, on the side of 0. Where neither is there, it is 0, and so is the coverage.
    """
    reported = chosen.logprobs.content[0].top_logprobs if chosen.logprobs and chosen.logprobs.content else []
    if not reported:
        return LogOdds(0.0, 0.0, chosen.message.content or "")
    least = min(one.logprob for one in reported)
    said = {word: [one.logprob for one in reported if one.token.strip().lower() == word] for word in ("yes", "no")}
    if not any(said.values()):
        return LogOdds(0.0, 0.0, reported[0].token)
    yes, no = (np.logaddexp.reduce(found or [least]) for found in said.values())
    coverage = np.exp(np.logaddexp.reduce([*said["yes"], *said["no"]]))
    return LogOdds(float(yes - no), min(1.0, float(coverage)), reported[0].token)


def _continued(text: str, opening: str) -> str:
    """What follows the opening: many models begin with it, as they were told, and others go on from it."""
    bare = text.strip().strip('"')
    if opening and bare.lower().startswith(opening.lower()):
        return bare[len(opening) :]
    return f" {bare}" if opening else bare


def _give_up(asked: Sequence[Future[Any]]) -> None:
    for one in asked:
        one.cancel()
