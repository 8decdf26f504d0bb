"""One row of supervised fine-tuning: a yes/no question exactly as the engine reads it, and its answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..catalogue.images import load_rgb
from ..engine.types import Image, Prompt, Rendered, Text
from ..recipe.captions import LONGEST_EDGE

YES, NO = "Yes", "No"
ESCAPED = "backslashreplace"  # for files of rows: of a path that is not UTF-8 it makes JSON's own escapes
Part = tuple[str, str]  # ("special" or "text", the text) or ("image", its path)


@dataclass(frozen=True, slots=True)
class Row:
    """A question after `at` interactions of `user`. `ids` are the engine's own tokens of `prefix` + `suffix`."""

    user: str
    at: int
    item_id: str
    answer: str
    prefix: tuple[Part, ...]
    suffix: tuple[Part, ...]
    ids: tuple[int, ...]
    recall: float  # of the item, 0..1
    image_sha256: str = ""
    dropped: int = 0  # titles that the history lost to fit
    cut: bool = False  # whether descriptions were shortened as well
    learned: float | None = None  # learned recall of the item, in validation rows
    blend: float = 0.0  # log-odds of recall, to which a model trained on the residual adds its own

    @property
    def group(self) -> str:
        """Rows of one user depend on each other."""
        return self.user

    @property
    def image(self) -> Path | None:
        """The picture in the question, if there is one."""
        return next((Path(text) for kind, text in self.suffix if kind == "image"), None)

    @property
    def prompt(self) -> str:
        """The question as a person would read it."""
        return "".join("<image>" if kind == "image" else text for kind, text in (*self.prefix, *self.suffix))

    def question(self) -> tuple[Prompt, Prompt]:
        """Prefix and suffix for the engine. Raises `InputError` if the picture has changed."""
        return [self._part(*part) for part in self.prefix], [self._part(*part) for part in self.suffix]

    def _part(self, kind: str, text: str) -> Text | Image:
        return self.load_image() if kind == "image" else Text(text, special=kind == "special")

    def load_image(self) -> Image:
        """The decoded picture. Raises `InputError` if it has changed since the row was made."""
        assert self.image is not None
        return load_rgb(self.image, LONGEST_EDGE, self.image_sha256)

    def to_json(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Row:
        """The row that `to_json` wrote."""
        parts = {name: tuple((kind, text) for kind, text in document[name]) for name in ("prefix", "suffix")}
        return cls(**{**document, **parts, "ids": tuple(document["ids"])})


def parts_of(question: Rendered, image: Path | None) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Prefix and suffix of a question as plain data; a picture becomes its path."""

    def plain(part: Text | Image) -> Part:
        if isinstance(part, Image):
            return "image", str(image)
        return ("special" if part.special else "text"), part.text

    return tuple(map(plain, question.prefix)), tuple(map(plain, question.suffix))


def read(path: Path) -> list[Row]:
    """All rows of a file that `append` wrote; a last line that a kill cut off is left out."""
    return list(_whole(path))


def _whole(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:  # as bytes: a kill may have cut a character in two
        for line in file:
            if line.endswith(b"\n"):
                yield Row.from_json(json.loads(line))


def export(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON lines of `prompt` and `completion`, with where they come from: for other trainers.

    `ids` are the engine's tokens of the prompt (-1 for a cell of the picture). A trainer that
    tokenises `prompt` again must read markup in a title as plain text.
    """
    with path.open("w", encoding="utf-8", errors=ESCAPED) as file:
        for row in rows:
            document = {
                "prompt": row.prompt,
                "completion": row.answer,
                "user": row.user,
                "after": row.at,
                "item_id": row.item_id,
                "image": str(row.image) if row.image else None,
                "ids": list(row.ids),
            }
            file.write(json.dumps(document, ensure_ascii=False) + "\n")
