"""Recall over a workspace as it is now: built when it is asked for, kept for the next command, and learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..arrays import Floats
from ..progress import Progress, silent
from ..store import histories, results
from ..store.rows import LearnedRow
from ..store.workspace import Workspace, fingerprint
from . import kept, learned, learning
from .candidates import Recall


class Described(Protocol):
    """The captions of pictures, and a hash of what wrote them."""

    @property
    def settings(self) -> str: ...

    def known(self) -> Mapping[str, str]:
        """{item id: caption}."""
        ...


class CurrentRecall:
    """Recall over a workspace; the text of an item includes its caption, where `captions` has one."""

    def __init__(self, workspace: Workspace, captions: Described | None = None) -> None:
        self._workspace, self._captions = workspace, captions
        self._made: tuple[tuple[str, str | None], Recall] | None = None

    def now(self) -> Recall:
        """The scores over the whole workspace as it is now."""
        workspace = self._workspace
        made_of = (self.revision(), results.learned_recall_key(workspace))
        if self._made is None or self._made[0] != made_of:
            folder = workspace.home / "recall"
            with workspace.snapshot():
                made_of = revision, _ = (self.revision(), results.learned_recall_key(workspace))
                there = kept.load(folder, revision)
                recall = there or Recall.of_log(histories.log(workspace), self.texts())
                recall.learned = learned.load(workspace, recall.item_ids)
            if there is None:
                kept.save(folder, revision, recall)
            self._made = (made_of, recall)
        return self._made[1]

    def revision(self) -> str:
        """Hash of all that the tables of recall are made of."""
        captions = self._captions.settings if self._captions else ""
        return fingerprint("recall", kept.FORMAT, histories.revision(self._workspace), captions)

    def texts(self) -> list[str]:
        """The text of every item: title, attributes and, where there is one, the caption of its picture."""
        return histories.texts(self._workspace, self._captions.known() if self._captions else {})

    def learn(self, vectors: Callable[[list[str]], Floats], reader: str, progress: Progress = silent) -> dict[str, Any]:
        """Learn recall from the workspace and keep it; returns facts about it.

        `vectors` makes the vectors [N, D] of texts, and `reader` identifies the model that makes them. `facts["used"]`
        says whether it is used from now on, because it is better than the hand-set weights. From fewer users than
        `learning.LEAST` nothing is learned, and nothing twice from the same histories, texts and reader.
        """
        workspace = self._workspace
        with workspace.snapshot():
            key = fingerprint("learned", results.LEARNED, self.revision(), reader)
            kept_facts = results.learned_recall_facts(workspace)
            if kept_facts and results.learned_recall_key(workspace) == key:
                return kept_facts
            log, texts = histories.log(workspace), self.texts()
        users = len(learning.held_back(log)[0])
        if users < learning.LEAST:
            facts = {"interactions": len(log.items), "users": users, "used": False}
            results.save_learned_recall(workspace, LearnedRow(key, {}, facts, [], b""))
            return facts
        made, facts = learning.learned_from(log, texts, vectors(texts), progress)
        learned.save(workspace, key, made, log.item_ids, facts)
        return facts
