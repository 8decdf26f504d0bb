"""A model's own chat template around our questions, with trusted markup and plain data kept apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from ...errors import ModelError
from ..types import IMAGE_MARK, Image, ModelFacts, Question, Rendered, Text

_CLOSING = "\n\n</think>\n\n"  # of thoughts that a template opens: as Qwen3's writes those that are not wanted
_SYSTEM, _USER = "\ue000system\ue001", "\ue000user\ue001"  # private-use marks: where the contents go


@dataclass(frozen=True, slots=True)
class Frame:
    """The chat markup of a one-question conversation: what stands before and after the user's content.

    `blank` goes before the content's first word and is tokenised with it: after "User: " a tokenizer of the
    whole would make one token of the blank and the word. `closed`: the template begins the answer with thoughts, which
    are ended at once, since p(yes) is read off the next token.
    """

    before: tuple[Text, ...]
    after: tuple[Text, ...]
    blank: str = ""
    closed: bool = False


def rendered(facts: ModelFacts, question: Question) -> Rendered:
    """The question in the chat format of the model. Raises `ModelError` as `frame` does."""
    chat = frame(facts, question.system)
    shared, own = question.shared, question.own
    if shared:
        shared = f"{chat.blank}{shared}\n\n"
    else:
        own = chat.blank + own
    asked = (*_parts(own, question.image, facts.around), *chat.after, *_parts(question.opening, None))
    if asked and isinstance(asked[-1], Image):
        asked += (Text("\n"),)  # the answer is read off a token, and this chat has none to begin it
    return Rendered((*chat.before, *_parts(shared, None)), asked)


def within(asked: Rendered, room: int) -> bool:
    """Whether a question surely takes at most `room` tokens: one is at least a byte, so most need no counting."""
    parts = (*asked.prefix, *asked.suffix)
    texts = [part.text for part in parts if isinstance(part, Text)]
    return len(texts) == len(parts) and sum(len(text.encode("utf-8", "replace")) for text in texts) <= room


def _parts(text: str, image: Image | None, around: str = "") -> tuple[Text | Image, ...]:
    before, mark, after = text.partition(IMAGE_MARK) if image else (text, "", "")
    found = (Text(before + around), image, Text(around + after)) if mark and image else (Text(before),)
    return tuple(part for part in found if isinstance(part, Image) or part.text)


@lru_cache(maxsize=32)
def frame(facts: ModelFacts, system: str) -> Frame:
    """Open a conversation with `system`, leave room for the user's content, and begin the answer.

    Models without a system role get it at the head of the user's turn. Raises `ModelError` when the model
    has no chat template or its template fails.
    """
    if not facts.chat_template:
        raise ModelError(f"{facts.name} carries no chat template. Next: choose an instruction-tuned model.")
    roles = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
    merged = [{"role": "user", "content": f"{_SYSTEM}\n\n{_USER}"}]
    reasons: list[Exception | str] = []
    for messages in (roles, _typed(roles), merged, _typed(merged)):
        try:
            text = _render(facts, messages)
        except Exception as error:  # a template is a program of the model's makers: it may fail in any way
            reasons.append(error)
            continue
        if text.count(_SYSTEM) == 1 and text.count(_USER) == 1:
            head, rest = text.split(_SYSTEM)
            middle, tail = rest.split(_USER)
            head, gap = _without_blank(head)
            middle, blank = _without_blank(middle)
            opened = tail.rfind("<think>") > tail.rfind("</think>")
            tail = tail.rstrip("\n") + _CLOSING if opened else tail
            return Frame((*_trusted(head), Text(gap + system), *_trusted(middle)), _trusted(tail), blank, opened)
        reasons.append("it does not show each text once, as it is")
    raise ModelError(
        f"{facts.name}: its chat template accepts no user message ({str(reasons[0]).rstrip('.')}). "
        "Next: choose an instruction-tuned model."
    )


def require_template(name: str, template: str | None) -> None:
    """Raise `ModelError` unless the model called `name` has a chat template that takes a question."""
    frame(ModelFacts(name, 0, False, template, "", "", False, (), (), 0, ""), "")


def _typed(messages: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The same messages as vision models' templates want them: content as a list of typed parts."""
    return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]


def _without_blank(markup: str) -> tuple[str, str]:
    """Markup without the blanks at its end, and those."""
    bare = markup.rstrip(" ")
    return bare, markup[len(bare) :]


def _trusted(text: str) -> tuple[Text, ...]:
    return (Text(text, special=True),) if text else ()


def _render(facts: ModelFacts, messages: list[Any]) -> str:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    text = environment.from_string(facts.chat_template or "").render(
        messages=messages,
        add_generation_prompt=True,
        bos_token=facts.bos,
        eos_token=facts.eos,
        raise_exception=_refuse,
        strftime_now=lambda _: "",  # a date would change every cache key every day
        enable_thinking=False,
    )
    return text if not facts.add_bos or text.startswith(facts.bos) else facts.bos + text


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`, by which transformers finds what the model wrote, changes nothing of the text."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """What stands inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
