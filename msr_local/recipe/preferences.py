"""Recurrent preference summaries (MLLM-MSR, section 4.2), kept as a chain of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from ..store import results
from ..store.rows import Interaction, Item, Preference
from ..store.workspace import Workspace, fingerprint
from ..weights import Weights
from .asking import ROOMS, SUMMARY, Asker, Progress
from .blocks import Block, blocks
from .captions import Captions
from .descriptions import describe
from .prompts import Question
from .recipes import Recipe

MAX_TOKENS = 96
# The summary before counts as said: without that pressure an untuned small model copies it word for word.
REPEAT_PENALTY = 1.2


class Preferences:
    """Writes and keeps each user's chain of summaries: what is there and still valid is not written again."""

    def __init__(
        self,
        workspace: Workspace,
        weights: Weights,
        recipe: Recipe,
        asker: Asker,
        captions: Captions,
        progress: Progress,
    ) -> None:
        self._workspace, self._weights, self._recipe = workspace, weights, recipe
        self._asker, self._captions, self._progress = asker, captions, progress

    @cached_property
    def settings(self) -> str:
        """Hash of all that shapes a summary but the history itself."""
        recipe = self._recipe
        names = ["preference_direct"] if recipe.direct else ["preference_first", "preference_update"]
        hashes = [self._asker.template(name).sha256 for name in names]
        shape = [recipe.block_size, recipe.window, recipe.direct, recipe.caption, self._weights.config.context, ROOMS]
        return fingerprint("preference", self._weights.summary_id, hashes, shape, MAX_TOKENS, REPEAT_PENALTY)

    def chain(self, user_id: str, history: Sequence[Interaction], *, past: bool = False) -> list[Preference]:
        """The summaries after each block of `history`, oldest first; each new one is committed at once.

        With `past`, `history` ends at some earlier point: the chain that belongs to the present stays as it is.
        """
        steps = blocks(history, self._recipe.block_size, self._recipe.window)
        if not steps:
            return []
        if self._recipe.direct:
            everything = tuple(one for block in steps for one in block.interactions)
            steps = [Block(steps[-1].index, everything)]
        kept = results.preferences(self._workspace, user_id, self.settings)
        chain: list[Preference] = []
        for done, block in enumerate(steps):
            before = chain[-1] if chain else None
            items = [(one.item, self._caption(one.item)) for one in block.interactions]
            told = [describe(item, caption) for item, caption in items]
            key = fingerprint(self.settings, before.key if before else None, told)
            known = kept.get(block.index)
            if known is None or known.key != key:
                self._progress("summary", done, len(steps))
                ids = tuple(item.item_id for item, _ in items)
                summary = results.past_summary(self._workspace, key)
                known = Preference(
                    block.index,
                    self._write(before.summary if before else None, items) if summary is None else summary,
                    block.start,
                    block.end,
                    ids,
                    key,
                )
                self._save(user_id, known, past)
            chain.append(known)
        if not past and set(kept) - {block.index for block in steps}:
            results.keep_preferences(self._workspace, user_id, self.settings, steps[0].index, steps[-1].index)
        self._progress("summary", len(steps), len(steps))
        return chain

    def _save(self, user_id: str, preference: Preference, past: bool) -> None:
        if past:
            results.save_past_summary(self._workspace, preference.key, preference.summary)
        else:
            model = self._weights.config.model.name
            results.save_preference(self._workspace, user_id, self.settings, preference, model)

    def _write(self, before: str | None, items: Sequence[tuple[Item, str | None]]) -> str:
        name = "direct" if self._recipe.direct else "first" if before is None else "update"
        template = self._asker.template(f"preference_{name}")
        values = {} if before is None else {"summary": before}

        def build(room: int) -> Question:
            told = [describe(item, caption, room) for item, caption in items]
            return template.question(self._asker.facts, {"items": told, **values})

        _, question = self._asker.fitting(build, ROOMS, reserve=MAX_TOKENS)
        said = (before or "").removeprefix(question.opening)
        return self._asker.write(question, MAX_TOKENS, REPEAT_PENALTY, role=SUMMARY, said=said)

    def _caption(self, item: Item) -> str | None:
        return self._captions.of(item) if self._recipe.caption else None
