"""Recall over a workspace as it is now: built when it is asked for, kept for the next command, and learned."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ..arrays import Floats
from ..errors import ModelError
from ..progress import Progress, silent
from ..store import histories, results
from ..store.rows import LearnedRow
from ..store.workspace import Workspace, fingerprint, now
from . import kept, learned, learning
from .candidates import Recall
from .learned import Learned
from .unfinished import Unfinished


class Described(Protocol):
    """The captions of pictures, and a hash of what wrote them."""

    @property
    def settings(self) -> str: ...

    def known(self) -> Mapping[str, str]:
        """{item id: caption}."""
        ...


class Reader(Protocol):
    """A model that makes vectors of texts, and a hash of all that shapes them."""

    @property
    def settings(self) -> str: ...

    def of(self, texts: Sequence[str]) -> Floats:
        """The vectors of the texts, shape [N, D]. Raises `ModelError` where the model gives none."""
        ...


class Attributes(Protocol):
    """What is known of the columns of the items."""

    @property
    def wordless(self) -> Collection[str]:
        """Names of attributes that nothing should read."""
        ...


class CurrentRecall:
    """Recall over a workspace; the text of an item includes its caption, where `captions` has one.

    What was learned reads by `reader` the texts of items that have come since. `unread` says why it cannot, if so.
    """

    def __init__(
        self, workspace: Workspace, reader: Reader, captions: Described | None = None,
        columns: Callable[[], Attributes] | None = None,
    ) -> None:  # fmt: skip
        self._workspace, self._reader, self._captions, self._columns = workspace, reader, captions, columns
        self.unread = ""
        self._tables: tuple[str, Recall] | None = None
        self._made: tuple[Recall, str | None, Recall] | None = None

    def now(self) -> Recall:
        """The scores over the whole workspace as it is now, weighed as was learned, if anything was."""
        by_hand, key = self.by_hand(), results.learned_recall_key(self._workspace)
        if self._made is None or self._made[0] is not by_hand or self._made[1] != key:
            recall = copy.copy(by_hand)
            recall.learned = self._taught(recall)
            self._made = by_hand, key, recall
        return self._made[2]

    def by_hand(self) -> Recall:
        """The same with the hand-set weights: no model is asked, whatever is new."""
        revision = self.revision()  # which keeps what it learns of the columns, as a snapshot cannot
        if self._tables is None or self._tables[0] != revision:
            workspace, folder = self._workspace, self._workspace.home / "recall"
            with workspace.snapshot():
                revision = self.revision()
                state = fingerprint(kept.FORMAT, histories.revision(workspace))
                there = kept.load(folder, state, revision)
                recall = there or Recall.of_log(histories.log(workspace), self.texts())
            if there is None:
                kept.save(folder, state, revision, recall)
            self._tables = revision, recall
        return self._tables[1]

    def revision(self) -> str:
        """Hash of all that the tables of recall are made of."""
        captions = self._captions.settings if self._captions else ""
        return fingerprint("recall", kept.FORMAT, histories.revision(self._workspace), captions, self._wordless())

    def texts(self, item_ids: Sequence[str] | None = None) -> list[str]:
        """The text of these items, or of all: title, attributes and, where there is one, the caption of its picture."""
        known = self._captions.known() if self._captions else {}
        return histories.texts(self._workspace, known, item_ids, self._wordless())

    def _wordless(self) -> list[str]:
        return sorted(self._columns().wordless) if self._columns else []

    def _taught(self, recall: Recall) -> Learned | None:
        """What was learned, for the items of `recall`: those that have come since have what their texts make of them.

        So do items that nobody has taken, if they were captioned since.
        """
        self.unread = ""
        there = learned.load(self._workspace)
        if there is None:
            return None
        taught, item_ids = there
        captioned = results.captioned_since_learning(self._workspace, self._captions.settings) if self._captions else ()
        # Who is not in the index came while the tables were made, and is there the next time.
        untaken = {one for one in captioned if one in recall.index and not recall.count[recall.index[one]]}
        known = {*item_ids} - untaken
        new = [place for place, item_id in enumerate(recall.item_ids) if item_id not in known]
        try:
            vectors = self._read(taught, [recall.item_ids[place] for place in new]) if new else None
        except ModelError as error:
            vectors = None
            self.unread = f"The texts of new items ({len(new):,}) count little in recall: {error}"
        return taught.of(recall.item_ids, item_ids, np.array(new, np.int32), vectors)

    def _read(self, taught: Learned, item_ids: Sequence[str]) -> Floats:
        if taught.reader != self._reader.settings:
            by = "with another model" if taught.reader else "by an earlier release"
            raise ModelError(f"it was learned {by}. Next: msr-local ingest with --learn.")
        return self._reader.of(self.texts(item_ids))

    def unfinished(self) -> Unfinished:
        """Where training of towers that was interrupted goes on."""
        return Unfinished(self._workspace.home / "recall" / "unfinished")

    def learn(self, progress: Progress = silent) -> dict[str, Any]:
        """Learn recall from the workspace and keep it; returns facts about it.

        `facts["used"]` says whether it is used from now on, because it is better than the hand-set weights. From fewer
        users than `learning.LEAST` nothing is learned, and nothing twice from the same histories, texts and reader.
        What was interrupted goes on.
        """
        workspace, since = self._workspace, now()
        with workspace.snapshot():
            key = fingerprint("learned", learning.VERSION, self.revision(), self._reader.settings)
            kept_facts = results.learned_recall_facts(workspace)
            if kept_facts and results.learned_recall_key(workspace) == key:
                return kept_facts
            log, texts = histories.log(workspace), self.texts()
        unfinished = self.unfinished()
        users = len(learning.held_back(log)[0])
        if users < learning.LEAST:
            facts = {"interactions": len(log.items), "users": users, "used": False}
            results.save_learned_recall(workspace, LearnedRow(key, {}, facts, [], b"", since))
            return facts
        made, facts = learning.learned_from(log, texts, self._reader.of(texts), progress, unfinished)
        learned.save(workspace, key, replace(made, reader=self._reader.settings), log.item_ids, facts, since)
        unfinished.over()
        return facts
