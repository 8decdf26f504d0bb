"""Item summaries (MLLM-MSR, section 4.1): a vision model turns each item's picture into text."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ..catalogue.images import load_rgb
from ..engine.types import CAPTION, Image, Question, Writing
from ..errors import ContextOverflow, EngineCrashed, InputError, ModelError, PictureError
from ..models.spec import Cast
from ..progress import Progress
from ..store import histories, results
from ..store.rows import Item
from ..store.workspace import Workspace, fingerprint
from .asking import Asker, repeat_penalty

MAX_TOKENS = 96
REPEAT_PENALTY = 1.1
_TOGETHER = 32  # pictures in memory at a time
_CRASHES = 3  # in a row, after which it is not the pictures' fault
LONGEST_EDGE = 1024  # pixels of a picture that an engine gets


@dataclass(slots=True)
class CaptionRun:
    """What became of the pictures; `left` were not tried because of a limit, `failed` holds (item, reason)."""

    present: int = 0
    made: int = 0
    left: int = 0
    failed: list[tuple[Item, str]] = field(default_factory=list)
    crashes: int = 0  # of the engine, one after the other


class Captions:
    """The captions of a workspace by the configured vision model; without one there are none."""

    def __init__(self, workspace: Workspace, cast: Cast, asker: Asker, progress: Progress) -> None:
        self._workspace, self._asker, self._progress = workspace, asker, progress
        self._captioner, self._config = cast.captioner, cast.config
        self._writing = Writing(CAPTION, MAX_TOKENS, repeat_penalty=repeat_penalty(self._captioner, REPEAT_PENALTY))
        self._exchanged: dict[str, str] | None = None

    @cached_property
    def settings(self) -> str:
        """Hash of all that shapes a caption but the picture."""
        template = self._asker.template("item_caption")
        shape = [self._config.context, LONGEST_EDGE, MAX_TOKENS, REPEAT_PENALTY]
        return fingerprint("caption", self._captioner and self._captioner.identity, template.sha256, shape)

    def _key(self, item: Item) -> str:
        return fingerprint(self.settings, item.image_sha256)

    def of(self, item: Item) -> str | None:
        """The caption of exactly this picture by exactly this model, if it is there."""
        if self._exchanged is not None:
            return self._exchanged.get(item.item_id)
        if self._captioner is None or item.image is None:
            return None
        return results.caption(self._workspace, item.item_id, self.settings, self._key(item))

    def known(self) -> dict[str, str]:
        """{item id: caption} of the present model; one of a picture that has changed since may be among them."""
        if self._exchanged is not None:
            return self._exchanged
        if self._captioner is None:
            return {}
        return {item: text for item, (_, text) in results.captions(self._workspace, self.settings).items()}

    def exchange(self, seed: int) -> None:
        """From now on each item has the caption of another one: what is lost by that shows what captions are worth.

        What is kept in the workspace stays as it is. Only for questions about the past.
        """
        known = self.known()
        order = sorted(known)
        random.Random(f"captions {seed}").shuffle(order)
        self._exchanged = {a: known[b] for a, b in zip(order, [*order[1:], *order[:1]], strict=True)}

    def missing(self) -> int:
        """How many pictures have no caption by the present model yet."""
        known = results.captions(self._workspace, self.settings)
        pictures = histories.items_with_image(self._workspace)
        return sum(known.get(item.item_id, ("",))[0] != self._key(item) for item in pictures)

    def state(self) -> str:
        """A hash of all captions of the present model: changes with each new one."""
        if self._captioner is None:
            return ""
        return fingerprint(sorted(key for key, _ in results.captions(self._workspace, self.settings).values()))

    def make(self, items: Iterable[Item] | None = None, limit: int | None = None) -> CaptionRun:
        """Caption the items that have a picture and no caption yet (all by default, popular ones first).

        Each caption is committed as it is made. Raises `ModelError` without a vision model.
        """
        if self._captioner is None:
            raise ModelError("captions need a vision model. Next: msr-local models use FILE --mmproj FILE.")
        run = CaptionRun()
        known = results.captions(self._workspace, self.settings)
        missing = []
        for item in histories.items_with_image(self._workspace) if items is None else items:
            if known.get(item.item_id, ("",))[0] == self._key(item):
                run.present += 1
            else:
                missing.append(item)
        tried = missing[:limit]
        run.left = len(missing) - len(tried)
        for start in range(0, len(tried), _TOGETHER):
            self._caption(tried[start : start + _TOGETHER], run, start, len(tried))
        self._progress("captions", len(tried), len(tried))
        return run

    def _caption(self, items: list[Item], run: CaptionRun, before: int, total: int) -> None:
        """Caption a few items together; where the model's process dies over them, those that are left one by one."""
        self._progress("captions", before, total)
        left = {item.item_id: (item, question) for item, question in self._questions(items, run)}
        while left:
            asked = list(left.values())
            questions = [question for _, question in asked]
            try:
                for place, text in self._asker.write(questions, self._writing):
                    item, _ = left.pop(asked[place][0].item_id)
                    run.crashes = 0
                    self._keep(item, text, run)
                    self._progress("captions", before + len(items) - len(left), total)
            except (ContextOverflow, PictureError) as error:  # all before the one that did it are finished
                item, _ = left.pop(next(iter(left)))
                run.failed.append((item, str(error)))
            except EngineCrashed:  # one of those that are left did it
                for item, question in list(left.values()):
                    self._progress("captions", before + len(items) - len(left), total)
                    del left[item.item_id]
                    self._caption_alone(item, question, run)

    def _questions(self, items: list[Item], run: CaptionRun) -> Iterator[tuple[Item, Question]]:
        template = self._asker.template("item_caption")
        for item in items:
            try:
                shown = picture(item)
            except InputError as error:  # the file changed or went away since it was checked
                run.failed.append((item, str(error)))
            else:
                yield item, template.question({}, shown)

    def _caption_alone(self, item: Item, question: Question, run: CaptionRun) -> None:
        try:
            ((_, text),) = self._asker.write([question], self._writing)
        except (ContextOverflow, PictureError, EngineCrashed) as error:  # one picture must not stop all those behind it
            run.failed.append((item, str(error)))
            run.crashes += isinstance(error, EngineCrashed)
            if run.crashes == _CRASHES:
                raise
        else:
            run.crashes = 0
            self._keep(item, text, run)

    def _keep(self, item: Item, text: str, run: CaptionRun) -> None:
        if not text:
            run.failed.append((item, "the model wrote nothing"))
            return
        model = self._config.name
        results.save_caption(self._workspace, item, self.settings, self._key(item), text, model)
        run.made += 1


def picture(item: Item) -> Image:
    """The decoded picture of an item that has one. Raises `InputError` if the file is no longer good."""
    assert item.image is not None
    return load_rgb(item.image, LONGEST_EDGE, item.image_sha256)
