"""Lists for many users at once. Each is kept as it is made, and whose is up to date is not asked about again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..catalogue.writers import check_format, write_rows
from ..errors import ContextOverflow, NotFoundError
from ..files import require_writable
from ..progress import Progress, silent
from ..store import results
from ..store.rows import Interaction, ListedItem
from ..store.workspace import fingerprint
from .enough import MISS
from .kept import key_of, pictures_of, state_of
from .recommender import LOOK, Person, Ranking, Recommender

COLUMNS = {
    "user": str, "rank": int, "item_id": str, "title": str, "probability": float, "score": float, "p_yes": float,
}  # fmt: skip
_FORMAT = 1  # another number where how a list is made changes


@dataclass(slots=True)
class Made:
    """What became of the users that were asked for; each is in exactly one of the first three."""

    made: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)  # whose lists were up to date
    failed: list[tuple[str, str]] = field(default_factory=list)  # (user, why)
    rows: int = 0
    coverages: list[float] = field(default_factory=list)  # of the answers to those made, as in `RecommendationList`


def recommend_to(
    recommender: Recommender,
    user_ids: Sequence[str],
    out: Path,
    k: int = 10,
    candidates: int = 100,
    look: int = LOOK,
    miss: float = MISS,
    *,
    only: Set[str] | None = None,
    progress: Progress = silent,
) -> Made:
    """Write what `recommend` gives each of these users into the file `out`, one row an item (see `COLUMNS`).

    Each list is kept in the workspace, so that a run which was interrupted goes on where it was. A user for whom it
    does not work (one that no file named, say) is told of, and left out. Before anything is asked it raises
    `InputError` for an `out` of another format than Parquet, CSV or JSON lines, `FileError` where none can be written.
    """
    check_format(out)
    require_writable(out)
    recommender.workspace.require_writable()
    user_ids = list(dict.fromkeys(user_ids))
    run = _Run(recommender, (k, candidates, look, miss), only)
    made = run.make(user_ids, progress)
    made.rows = write_rows(out, COLUMNS, run.rows(user_ids, {user for user, _ in made.failed}))
    return made


class _Run:
    """The lists under certain settings: which are up to date, and how others are made."""

    def __init__(self, recommender: Recommender, how: tuple[int, int, int, float], only: Set[str] | None) -> None:
        self._recommender, self._workspace, self._how, self._only = recommender, recommender.workspace, how, only
        cast, recipe = recommender.cast, recommender.recipe
        self.settings = fingerprint(
            "list", _FORMAT, recommender.judge.settings, how, None if only is None else sorted(only),
            recommender.preferences.settings if recipe.summary else None,
        )  # fmt: skip
        self._pictures = pictures_of(self._workspace, cast)

    def _key(self, user_id: str) -> str:
        """Hash of all in the workspace that a list depends on."""
        return key_of(self._workspace, self.settings, state_of(self._recommender, self._pictures), user_id)

    def make(self, user_ids: Iterable[str], progress: Progress) -> Made:
        """See to it that all lists are there that can be."""
        made, missing = Made(), []
        for user_id in user_ids:
            kept = results.list_key(self._workspace, user_id, self.settings)
            if kept is not None and kept == self._key(user_id):
                made.present.append(user_id)
            else:
                missing.append(user_id)
        progress("recommendations", 0, len(missing))
        plans = (
            ((user_id, key), self._recommender.ranking(person, *self._how, only=self._only))
            for user_id, key, person in self._people(missing, made.failed)
        )
        for (user_id, key), found in self._recommender.side_by_side(plans):
            if isinstance(found, Ranking):
                self._keep(user_id, key, found, made)
            else:
                made.failed.append((user_id, str(found)))
            progress("recommendations", len(made.made) + len(made.failed), len(missing))
        return made

    def _keep(self, user_id: str, key: str, ranking: Ranking, made: Made) -> None:
        found = self._recommender.listed(ranking, self._how[0])
        items = [ListedItem(one.item_id, one.title, one.probability, one.score, one.p_yes) for one in found.items]
        results.save_list(self._workspace, user_id, self.settings, key, items)
        made.made.append(user_id)
        if found.model["coverage"] is not None:
            made.coverages.append(found.model["coverage"])

    def _people(
        self, user_ids: Iterable[str], failed: list[tuple[str, str]]
    ) -> Iterator[tuple[str, str, Person]]:  # fmt: skip
        """(user, key, the person with the summary) in the order in which summaries are ready: many are written at once.

        The key is from before anything was read, so that what changes meanwhile makes the list stale.
        """
        waiting: dict[int, tuple[str, str, Person]] = {}
        numbers = itertools.count()

        def begun() -> Iterator[tuple[str, Sequence[Interaction]]]:
            for user_id in user_ids:
                key = self._key(user_id)
                try:
                    person = self._recommender.user(user_id)
                except NotFoundError as error:
                    failed.append((user_id, str(error)))
                    continue
                waiting[next(numbers)] = user_id, key, person
                yield user_id, person.history

        def too_long(place: int, error: ContextOverflow) -> None:
            failed.append((waiting.pop(place)[0], str(error)))

        if self._recommender.recipe.summary:
            for place, chain in self._recommender.preferences.chains(begun(), failed=too_long):
                user_id, key, person = waiting.pop(place)
                yield user_id, key, replace(person, summary=chain[-1].summary if chain else "")
        else:
            for place, _ in enumerate(begun()):
                yield waiting.pop(place)

    def rows(self, user_ids: Iterable[str], without: Set[str]) -> Iterator[tuple[object, ...]]:
        """The rows of the file: all lists but those of the users `without`, in the order of the users."""
        for user_id in user_ids:
            if user_id not in without:
                for rank, one in enumerate(results.list_items(self._workspace, user_id, self.settings), start=1):
                    yield (user_id, rank, *one)
