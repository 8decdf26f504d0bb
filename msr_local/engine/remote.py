"""A server that speaks the OpenAI protocol, behind the `Engine` protocol: llama.cpp's, vLLM, LM Studio, Ollama.

What a server cannot do is said, not guessed: p(yes) is read from the most probable tokens that it reports ("top"), or
not at all ("none"); it gives no vectors. A server also makes tokens of what it is sent in its own way, so whatever in
our data looks like chat markup is written otherwise before it goes out.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import math
import os
import re
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, as_completed
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import numpy as np

from ..arrays import Floats
from ..errors import AnswerTokensError, ContextOverflow, ModelError
from ..text import printable
from .types import API_KEY, IMAGE_MARK, Capabilities, Generation, Image, LogOdds, Question, ServerConfig, Writing

if TYPE_CHECKING:
    import openai

_TOP, _FEW = 20, 5  # most probable tokens that are asked for: the most that the protocol allows, and any server
_NEVER = -1000.0  # log-probabilities below this stand for a token that cannot come: some servers write -9999
_BYTES = 3  # of text in a token, at least on average: to see whether a question fits without asking the server
_MARKUP = 64  # tokens that a chat template may take
_PICTURE = 1024  # tokens that a picture may take
_MARKS = str.maketrans({"<": "‹", ">": "›"})  # no control token is left without these two and what follows
_BRACKETED = re.compile(r"\[(/?[A-Z][A-Z_]+)\]")  # as Mistral's [INST]
_THOUGHTS = re.compile(r"\A\s*<think>.*?(</think>|\Z)", re.DOTALL)
_TOO_LONG = re.compile(r"context|too (long|many tokens|large)|maximum.*length|exceed", re.IGNORECASE)
_PICTURES = re.compile(r"image|vision|multimodal", re.IGNORECASE)
# What a server may refuse, in such words, and is then asked without: the first of these that fits.
_DISPENSABLE = {
    "no thoughts": re.compile(r"chat_template_kwargs|enable_thinking"),
    "many": re.compile(r"logprobs"),
    "logprobs": re.compile(r"logprobs"),
    "system": re.compile(r"\broles?\b"),
}
_LONGEST = 200  # characters of a server's words in a message
_NAMED = 8  # models that a message lists
_NEXT = {
    404: "Next: check the name of the model, and the address: it mostly ends in /v1.",
    429: "Next: try again later; what was answered is kept.",
}
_PATIENCE = 5.0  # seconds that connections get to close
_Answer = TypeVar("_Answer")


class _Refused(Exception):
    """An answer with an error `status`, and all that was `said` with it."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status, self.said = status, said


class RemoteEngine:
    """A model behind a server. Raises `ModelError` where the server cannot be reached or refuses.

    Requests run in a loop of their own, so that those on their way end at once when nobody wants them any more.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._without: frozenset[str] = frozenset()  # of `_DISPENSABLE`

    # ---- what it can do

    @cached_property
    def _client(self) -> openai.AsyncOpenAI:
        try:
            import openai
        except ImportError as error:
            raise ModelError(
                "a model behind a server needs the package openai. Next: pip install 'msr-local[remote]'."
            ) from error
        config = self.config
        return openai.AsyncOpenAI(
            base_url=config.url, api_key=os.environ.get(API_KEY) or "none", max_retries=config.retries,
            timeout=config.timeout,
        )  # fmt: skip

    @cached_property
    def model(self) -> str:
        """The name of the model, as the server has it. Raises `ModelError` for one that is not there."""
        _ = self._client  # raises where the package is missing
        return self._begun(self._named()).result()

    async def _named(self) -> str:
        wanted, address = self.config.model, self.config.url
        try:
            with self._telling():
                names = [str(one.id) for one in (await self._client.models.list()).data]
        except _Refused as refusal:
            if wanted and refusal.status == 404:
                return wanted  # not every server lists its models
            raise self._refusal(refusal) from None
        listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        if wanted and names and wanted not in names:
            raise ModelError(f"{self._host} has no model {wanted!r}, but {listed}. Next: name one of them.")
        if not wanted and len(names) != 1:
            has = f"has several models, {listed}" if names else "names no model"
            raise ModelError(f"{self._host} {has}. Next: write one after the address, as {address}#NAME.")
        return wanted or names[0]

    @cached_property
    def can(self) -> Capabilities:
        """What the server can do; it is asked one question to see whether it reports probabilities."""
        question = Question("Answer Yes or No.", "", "Is the sky blue?")
        reported = bool(self._asked(question, _reported, max_tokens=1, logprobs=True).result())
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
        asked = [self._asked(question, _log_odds, max_tokens=1, logprobs=True) for question in questions]
        try:
            yield from (one.result() for one in asked)
        finally:
            _give_up(asked)

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        """See `Engine`. Roles and `repeat_penalty` are for models on this machine: a server has neither."""

        def asked_for(question: Question) -> Future[Generation]:
            def read(chosen: Any) -> Generation:
                text = _continued(_THOUGHTS.sub("", chosen.message.content or ""), question.opening)
                return Generation(text, len(text.split()), chosen.finish_reason != "length")

            return self._asked(question, read, max_tokens=how.max_tokens, temperature=how.temperature, seed=how.seed)

        asked = [asked_for(question) for question in questions]
        places = {one: place for place, one in enumerate(asked)}
        try:
            for one in as_completed(asked):
                if not isinstance(one.exception(), ContextOverflow):
                    yield places[one], one.result()
            for one in asked:  # over-long ones, when all others are finished
                one.result()
        finally:
            _give_up(asked)

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        raise ModelError(f"{self._host} gives no vectors of texts. Next: a model on this machine.")

    def close(self) -> None:
        if "_loop" in self.__dict__:
            with contextlib.suppress(TimeoutError):
                self._begun(self._ended()).result(_PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            del self._loop

    async def _ended(self) -> None:
        asked = asyncio.all_tasks() - {asyncio.current_task()}
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        if "_client" in self.__dict__:
            await self._client.close()
            del self._client

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()

        def run() -> None:
            with contextlib.closing(loop):
                loop.run_forever()

        # No thread that the interpreter waits for: a slow answer would hold up Ctrl-C.
        threading.Thread(target=run, daemon=True).start()
        return loop

    @cached_property
    def _turns(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.config.together)

    def _begun(self, request: Coroutine[Any, Any, _Answer]) -> Future[_Answer]:
        return asyncio.run_coroutine_threadsafe(request, self._loop)

    def _asked(self, question: Question, read: Callable[[Any], _Answer], **how: Any) -> Future[_Answer]:
        """What `read` will make of the first choice of the server's answer."""
        return self._begun(self._answer(self.model, question, read, {"temperature": 0.0, **how}))

    async def _answer(
        self, model: str, question: Question, read: Callable[[Any], _Answer], how: dict[str, Any]
    ) -> _Answer:
        async with self._turns:
            while True:
                without = self._without
                try:
                    with self._telling():
                        request = _request(question, how, without)
                        return read((await self._client.chat.completions.create(model=model, **request)).choices[0])
                except _Refused as refusal:
                    spared = (word for word, refused in _DISPENSABLE.items() if refused.search(refusal.said))
                    less = next((word for word in spared if word not in without), None)
                    if less is None:
                        raise self._refusal(refusal, question) from None
                    self._without |= {less}

    # ---- what goes wrong

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of the transport, and of answers in another shape, in our words. None of them holds the key."""
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            raise _Refused(error.status_code, _words(error.body)) from None
        except openai.APITimeoutError as error:
            self._fail("did not answer in time", "Next: try again; what was answered is kept.", error)
        except openai.APIConnectionError as error:
            self._fail("cannot be reached", "Next: start it, and run this again; what was answered is kept.", error)
        except UnicodeEncodeError as error:
            self._fail(f"cannot be sent the key in {API_KEY}", "Next: check it; it is no plain text.", error)
        except (openai.OpenAIError, AttributeError, TypeError, ValueError, LookupError) as error:
            then = "Next: check the address, which mostly ends in /v1, and whether it speaks the OpenAI protocol."
            self._fail("gave no usable answer", then, error)

    def _fail(self, what: str, then: str, error: Exception) -> NoReturn:
        raise ModelError(f"{self._host} {what} ({type(error).__name__}). {then}") from None

    def _refusal(self, refusal: _Refused, question: Question | None = None) -> ModelError:
        status, said = refusal.status, refusal.said
        if status in (401, 403):
            return ModelError(
                f"{self._host} refuses the key, or wants one (status {status}). "
                f"Next: put it into the environment variable {API_KEY}."
            )
        if status in (400, 413, 422) and _TOO_LONG.search(said):
            return ContextOverflow(f"a question is longer than {self._host} takes.")
        told = f"{self._host} answered with status {status}" + (f": {said[:_LONGEST].rstrip('.')}" if said else "")
        blind = question and question.image and _PICTURES.search(said)
        then = "Next: a model that sees, or --mmproj none." if blind else _NEXT.get(status, "Next: look into its log.")
        return ModelError(f"{told}. {then}")


def _words(body: Any) -> str:
    """What a server says of an error, on one line, without the key."""
    told = (body.get("message") or body.get("detail") or body) if isinstance(body, dict) else body
    text = printable(str(told or ""))
    if key := os.environ.get(API_KEY):
        text = text.replace(key, "…")
    return "" if text.startswith("<") else text  # a page of some proxy


def _request(question: Question, how: dict[str, Any], without: frozenset[str]) -> dict[str, Any]:
    """What is asked, without what the server refuses."""
    how, messages = dict(how), _messages(question, system="system" not in without)
    if how.pop("logprobs", False) and "logprobs" not in without:
        how |= {"logprobs": True, "top_logprobs": _FEW if "many" in without else _TOP}
    if "no thoughts" not in without:  # p(yes) is read off the first token
        how["extra_body"] = {"chat_template_kwargs": {"enable_thinking": False}}
    return {"messages": messages, **how}


def _messages(question: Question, *, system: bool) -> list[Any]:
    """The question as chat messages; a picture goes as a data URL where its mark stands.

    Without `system` its text goes to the head of the user's turn, as on this machine for models without that role.
    """
    own, picture = question.own, question.image
    before, _, after = own.partition(IMAGE_MARK) if picture else (own, "", "")
    shared = f"{question.shared}\n\n" if question.shared else ""
    head = "" if system else f"{question.system}\n\n"
    begin = f'\n\nBegin with "{question.opening}".' if question.opening else ""
    first, last = plain(head + shared + before), plain(after + begin)
    content: Any = first + last
    if picture:
        parts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in (first, last)]
        parts.insert(1, {"type": "image_url", "image_url": {"url": _data_url(picture)}})
        content = [part for part in parts if part.get("text", "-")]
    told = [{"role": "system", "content": plain(question.system)}] if system else []
    return [*told, {"role": "user", "content": content}]


def plain(text: str) -> str:
    """Text in which no server finds chat markup: angle brackets and bracketed capitals are written otherwise."""
    return _BRACKETED.sub(r"(\1)", text.translate(_MARKS))


def _data_url(image: Image) -> str:
    from PIL import Image as Pictures

    file = io.BytesIO()
    Pictures.frombytes("RGB", (image.width, image.height), image.pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _reported(chosen: Any) -> list[tuple[str, float]]:
    """The most probable tokens with their log-probabilities, the best first; empty where none are reported."""
    content = chosen.logprobs.content if chosen.logprobs else None
    top = content[0].top_logprobs if content else None
    # null, NaN and numbers below the least are no probabilities.
    found = [(one.token, float(one.logprob)) for one in top or () if one.logprob is not None]
    return [(token, logprob) for token, logprob in found if _NEVER < logprob < math.inf]


def _log_odds(chosen: Any) -> LogOdds:
    """z from the most probable tokens. Where one of yes and no is not among them, it is at most as likely as the last.

    So z is then a bound of the true one, on the side of 0. Where neither is there, it is 0, and so is the coverage.
    """
    reported = _reported(chosen)
    if not reported:
        return LogOdds(0.0, 0.0, chosen.message.content or "")
    least = min(logprob for _, logprob in reported)
    said = {word: [one for token, one in reported if token.strip().lower() == word] for word in ("yes", "no")}
    if not any(said.values()):
        return LogOdds(0.0, 0.0, reported[0][0])
    yes, no = (np.logaddexp.reduce(found or [least]) for found in said.values())
    coverage = np.exp(np.logaddexp.reduce([*said["yes"], *said["no"]]))
    return LogOdds(float(yes - no), min(1.0, float(coverage)), reported[0][0])


def _continued(text: str, opening: str) -> str:
    """What follows the opening: many models begin with it, as they were told, and others go on from it."""
    bare = text.strip().strip('"')
    if opening and bare.lower().startswith(opening.lower()):
        return bare[len(opening) :]
    return f" {bare}" if opening else bare


def _give_up(asked: Sequence[Future[Any]]) -> None:
    for one in asked:
        one.cancel()
