"""Prompt templates: one Jinja file a question, in three blocks.

`system` goes into the system turn; `shared` is the part of the user's turn that many questions have in
common (decoded once); `own` is the rest. A block `answer`, if there is one, holds the first words of the
model's answer, which keeps small models to the point. A file of the same name in the workspace's `prompts/`
replaces the shipped one, and its hash is part of the key of everything made with it.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import jinja2.sandbox

from .engine.llama.chat import frame
from .engine.types import Image, ModelFacts, Prompt, Text
from .errors import PromptError
from .text import printable

_BLOCKS = ("system", "shared", "own")
_IMAGE_MARK = "\ufffc"  # OBJECT REPLACEMENT CHARACTER: stands where the picture goes


class _ImageMark(str):
    __slots__ = ()


IMAGE = _ImageMark(_IMAGE_MARK)


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt in two parts: `prefix` is the same for many questions, `suffix` is this one's own."""

    prefix: tuple[Text | Image, ...]
    suffix: tuple[Text | Image, ...]
    opening: str = ""  # the first words of the answer, part of `suffix`


class PromptTemplate:
    """One question's template. Raises `PromptError` when it is missing, broken or lacks a block."""

    def __init__(self, name: str, overrides: Path | None = None) -> None:
        self.name = name
        file = f"{name}.j2"
        folders = [folder for folder in (overrides, package_data("prompts")) if folder and folder.is_dir()]
        environment = jinja2.sandbox.SandboxedEnvironment(
            loader=jinja2.FileSystemLoader(folders),
            undefined=jinja2.StrictUndefined,
            finalize=_data,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        try:
            assert environment.loader is not None
            source, self.path, _ = environment.loader.get_source(environment, file)
            self._template = environment.get_template(file)
        except jinja2.TemplateNotFound as error:
            raise PromptError(f"there is no prompt {file} in {' or '.join(map(str, folders))}.") from error
        except UnicodeDecodeError as error:
            raise PromptError(f"{file} in {overrides}: not UTF-8 ({error}).") from error
        except jinja2.TemplateSyntaxError as error:
            raise PromptError(f"{error.filename}:{error.lineno}: {error.message}.") from error
        if list(jinja2.meta.find_referenced_templates(environment.parse(source))):
            raise PromptError(f"{self.path}: a prompt stands alone; it cannot include or extend another.")
        missing = [block for block in _BLOCKS if block not in self._template.blocks]
        if missing:
            raise PromptError(f"{self.path}: a prompt needs the blocks {', '.join(_BLOCKS)}; {missing[0]} is missing.")
        self.sha256 = hashlib.sha256(source.encode()).hexdigest()

    def question(self, facts: ModelFacts, values: Mapping[str, Any], image: Image | None = None) -> Question:
        """The template filled with `values`, in the chat format of the model. All values are plain data."""
        system, shared, own = (self._block(block, image, values) for block in _BLOCKS)
        opening = self._block("answer", None, values) if "answer" in self._template.blocks else ""
        for block, text in zip(("system", "shared", "answer"), (system, shared, opening), strict=True):
            if _IMAGE_MARK in text:
                raise PromptError(f"{self.path}, block {block}: a picture may only stand in the block 'own'.")
        if own.count(_IMAGE_MARK) > 1:
            raise PromptError(f"{self.path}: a picture may stand only once in a question.")
        chat = frame(facts, system)
        if shared:
            shared = f"{chat.blank}{shared}\n\n"
        else:
            own = chat.blank + own
        asked = (*_parts(own, image), *chat.after, *_parts(opening, None))
        if asked and isinstance(asked[-1], Image):
            asked += (Text("\n"),)  # the answer is read off a token, and this chat has none to begin it
        return Question((*chat.before, *_parts(shared, None)), asked, opening)

    def _block(self, block: str, image: Image | None, values: Mapping[str, Any]) -> str:
        context = self._template.new_context({**values, "image": IMAGE if image else ""})
        try:
            return "".join(self._template.blocks[block](context)).strip()
        except Exception as error:  # a template is a program: it may fail in any way
            raise PromptError(f"{self.path}, block {block}: {error}.") from error


def _data(value: Any) -> Any:
    """Each value on one line and free of control characters: data cannot imitate the prompt's structure."""
    if isinstance(value, _ImageMark):
        return value
    return printable(str(value)).replace(_IMAGE_MARK, "")


def _parts(text: str, image: Image | None) -> Prompt:
    before, mark, after = text.partition(_IMAGE_MARK)
    if not mark:
        return (Text(text),) if text else ()
    assert image is not None
    return tuple(part for part in (Text(before), image, Text(after)) if not isinstance(part, Text) or part.text)


def package_data(name: str) -> Path:
    """A folder of package data: inside the installed package, or beside it in a source checkout."""
    installed = Path(str(importlib.resources.files("msr_local"))) / name
    return installed if installed.is_dir() else Path(__file__).parents[1] / name
