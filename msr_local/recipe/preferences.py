"""Recurrent preference summaries (MLLM-MSR, section 4.2), kept as a chain of blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..engine.types import SUMMARY, Question, Writing
from ..errors import ContextOverflow
from ..models.spec import Cast
from ..progress import Progress, silent
from ..store import results
from ..store.rows import Interaction, Item, Preference
from ..store.workspace import Workspace, fingerprint, versioned
from .asking import Asker, repeat_penalty
from .blocks import Block, blocks
from .captions import Captions
from .descriptions import Descriptions

_KIND = versioned("preference", 1)  # another number where what is written of the same history changes
MAX_TOKENS = 96
# The previous summary counts as written: without that pressure an untuned small model copies it word for word.
REPEAT_PENALTY = 1.2
_SIDE_BY_SIDE = 64  # chains in the making, for an engine; of many engines, half as many for each


@dataclass(slots=True)
class _Chain:
    """A user's chain in the making: `kept` are the stored summaries, valid or not, by block."""

    user_id: str | None
    past: bool
    steps: list[Block]
    kept: dict[int, Preference]
    made: list[Preference] = field(default_factory=list)

    @property
    def before(self) -> Preference | None:
        return self.made[-1] if self.made else None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The next summary of a chain, still without words, and the question that gets them."""

    preference: Preference
    question: Question
    said: str


class Preferences:
    """Writes and keeps each user's chain of summaries: what is there and still valid is not written again."""

    def __init__(
        self, workspace: Workspace, cast: Cast, asker: Asker, captions: Captions, descriptions: Descriptions,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._workspace, self._recipe, self._descriptions = workspace, cast.recipe, descriptions
        self._config, self._summariser = cast.config, cast.summariser
        self._asker, self._captions, self._progress = asker, captions, progress

    @cached_property
    def settings(self) -> str:
        """Hash of all that shapes a summary but the history itself."""
        recipe, hashes = self._recipe, [*self.prompts.values()]
        shape = [
            recipe.block_size,
            recipe.window,
            recipe.direct,
            recipe.caption,
            self._config.context,
            self._descriptions.rooms,
        ]
        return fingerprint(_KIND, self._summariser.identity, hashes, shape, MAX_TOKENS, REPEAT_PENALTY)

    @property
    def prompts(self) -> dict[str, str]:
        """{template: SHA-256} of those that write the summaries, in the order of their use."""
        names = ["preference_direct"] if self._recipe.direct else ["preference_first", "preference_update"]
        return {name: self._asker.template(name).sha256 for name in names}

    def chain(self, user_id: str | None, history: Sequence[Interaction], *, past: bool = False) -> list[Preference]:
        """The summaries after each block of `history`, oldest first; each new one is committed at once.

        Those of somebody without a `user_id` are kept under the hash of all that made them, and nothing else is.

        With `past`, `history` ends at some earlier point: the chain that belongs to the present stays as it is.
        """
        ((_, chain),) = self._grow([(user_id, history)], past, self._progress)
        return chain

    def chains(
        self, people: Iterable[tuple[str | None, Sequence[Interaction]]], *, past: bool = False,
        failed: Callable[[int, ContextOverflow], None] | None = None,
    ) -> Iterator[tuple[int, list[Preference]]]:  # fmt: skip
        """What `chain` gives, for many (user, history) side by side: (place, chain) of each as it is finished.

        The chains are the same as one by one; blocks that several have in common are written once. Where a question
        is longer than the context, `failed` is told of the chain, and the others go on; without it, that is raised.
        """
        yield from self._grow(people, past, silent, failed)

    @property
    def width(self) -> int:
        """How many engines write at once; 1 before the first question."""
        return self._asker.width

    def _grow(
        self, people: Iterable[tuple[str | None, Sequence[Interaction]]], past: bool, progress: Progress,
        failed: Callable[[int, ContextOverflow], None] | None = None,
    ) -> Iterator[tuple[int, list[Preference]]]:  # fmt: skip
        waiting = enumerate(people)
        growing: dict[int, _Chain] = {}

        def overflown(places: Iterable[int], error: ContextOverflow) -> None:
            if failed is None:
                raise error
            for place in places:
                del growing[place]
                failed(place, error)

        while True:
            for place, (user_id, history) in itertools.islice(
                waiting, max(2, self.width) * _SIDE_BY_SIDE // 2 - len(growing)
            ):
                growing[place] = self._begin(user_id, history, past)
            if not growing:
                return
            wanted: dict[str, dict[int, tuple[_Chain, _Wanted]]] = {}  # by key: those that wait for the same words
            for place, chain in list(growing.items()):
                try:
                    next_one = self._next(chain)
                except ContextOverflow as error:
                    overflown([place], error)
                    continue
                progress("summary", len(chain.made), len(chain.steps))
                if next_one is None:
                    yield place, growing.pop(place).made
                else:
                    wanted.setdefault(next_one.preference.key, {})[place] = chain, next_one
            try:
                self._write(wanted)
            except ContextOverflow as error:  # of the first that has no text; the others are asked for again
                overflown(next(iter(wanted.values())), error)

    def _begin(self, user_id: str | None, history: Sequence[Interaction], past: bool) -> _Chain:
        steps = blocks(history, self._recipe.block_size, self._recipe.window)
        if steps and self._recipe.direct:
            everything = tuple(one for block in steps for one in block.interactions)
            steps = [Block(steps[-1].index, everything)]
        if user_id is None:
            return _Chain(None, True, steps, {})
        kept = results.preferences(self._workspace, user_id, self.settings) if steps else {}
        if not past and set(kept) - {block.index for block in steps}:
            results.keep_preferences(self._workspace, user_id, self.settings, steps[0].index, steps[-1].index)
        return _Chain(user_id, past, steps, kept)

    def _next(self, chain: _Chain) -> _Wanted | None:
        """Take what is known already; the first that is not, or None at the end of the chain."""
        caption = self._captions.of if self._recipe.caption else lambda _: None
        for block in chain.steps[len(chain.made) :]:
            items = [(one.item, caption(one.item)) for one in block.interactions]
            told = [self._descriptions.of(item, caption) for item, caption in items]
            key = fingerprint(self.settings, chain.before.key if chain.before else None, told)
            ids = tuple(item.item_id for item, _ in items)
            wanted = Preference(block.index, "", block.start, block.end, ids, key)
            kept = chain.kept.get(block.index)
            if kept is not None and kept.key == key:  # its times are no part of the key
                known = replace(wanted, summary=kept.summary)
            else:
                summary = results.past_summary(self._workspace, key)
                if summary is None:
                    return self._ask(wanted, chain.before, items)
                known = replace(wanted, summary=summary)
                self._save(chain, known)
            chain.made.append(known)
        return None

    def _write(self, wanted: dict[str, dict[int, tuple[_Chain, _Wanted]]]) -> None:
        """Write one summary for each; each is committed as it is made, and is wanted no more.

        The times and items are those of each chain's own block.
        """
        asked = [next(iter(chains.values()))[1] for chains in wanted.values()]
        penalty = repeat_penalty(self._summariser, REPEAT_PENALTY)
        how = Writing(SUMMARY, MAX_TOKENS, repeat_penalty=penalty, said=[one.said for one in asked])
        for place, summary in self._asker.write([one.question for one in asked], how):
            for chain, own in wanted.pop(asked[place].preference.key).values():
                known = replace(own.preference, summary=summary)
                self._save(chain, known)
                chain.made.append(known)

    def _save(self, chain: _Chain, preference: Preference) -> None:
        if chain.past or chain.user_id is None:
            results.save_past_summary(self._workspace, preference.key, preference.summary, self.settings)
        else:
            model = self._config.name
            results.save_preference(self._workspace, chain.user_id, self.settings, preference, model)

    def _ask(
        self, preference: Preference, before: Preference | None, items: Sequence[tuple[Item, str | None]]
    ) -> _Wanted:
        name = "direct" if self._recipe.direct else "first" if before is None else "update"
        template = self._asker.template(f"preference_{name}")
        values = {} if before is None else {"summary": before.summary}

        def build(room: int) -> Question:
            told = [self._descriptions.of(item, caption, room) for item, caption in items]
            return template.question({"items": told, **values})

        _, question = self._asker.fitting(build, self._descriptions.rooms, reserve=MAX_TOKENS)
        said = (before.summary if before else "").removeprefix(question.opening)
        return _Wanted(preference, question, said)
