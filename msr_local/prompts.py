"""Prompt templates: one Jinja file a question, in three blocks.

`system` goes into the system turn; `shared` is the part of the user's turn that many questions have in
common (decoded once); `own` is the rest. A block `answer`, if there is one, holds the first words of the
model's answer, which keeps small models to the point. A file of the same name in the workspace's `prompts/`
replaces the shipped one, and its hash is part of the key of everything made with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import jinja2.sandbox

from .engine.types import IMAGE_MARK, Image, Question
from .errors import PromptError
from .files import package_data
from .text import printable

_BLOCKS = ("system", "shared", "own")


class _ImageMark(str):
    __slots__ = ()


IMAGE = _ImageMark(IMAGE_MARK)


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

    def question(self, values: Mapping[str, Any], image: Image | None = None) -> Question:
        """The template filled with `values`, which are all plain data. Without a place for `image`, it is left out."""
        system, shared, own = (self._block(block, image, values) for block in _BLOCKS)
        opening = self._block("answer", None, values) if "answer" in self._template.blocks else ""
        for block, text in zip(("system", "shared", "answer"), (system, shared, opening), strict=True):
            if IMAGE_MARK in text:
                raise PromptError(f"{self.path}, block {block}: a picture may only stand in the block 'own'.")
        if own.count(IMAGE_MARK) > 1:
            raise PromptError(f"{self.path}: a picture may stand only once in a question.")
        return Question(system, shared, own, image if IMAGE_MARK in own else None, opening)

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
    return printable(str(value)).replace(IMAGE_MARK, "")
