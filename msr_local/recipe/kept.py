"""Lists that are still what they would be if they were made again: a service is asked for the same ones many times."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import asdict, replace
from typing import Any

from ..models.spec import Cast
from ..store import histories, results
from ..store.workspace import Workspace, fingerprint
from .recommender import Recommender
from .views import RecommendationList

_ITEMS = 20_000  # of all kept lists together: some tens of MB


def pictures_of(workspace: Workspace, cast: Cast) -> str | None:
    """Hash of all pictures, where the model looks at any."""
    return fingerprint(histories.pictures(workspace)) if cast.looks else None


def state_of(recommender: Recommender, pictures: str | None) -> tuple[Any, ...]:
    """All in the workspace that lists depend on, but for what belongs to a user."""
    learned = results.learned_recall_key(recommender.workspace)
    fused = fingerprint([asdict(recommender.fused(one)) for one in (False, True)])
    return recommender.recall.revision(), learned, fused, pictures, tuple(recommender.descriptions.order)


def key_of(workspace: Workspace, settings: str, state: tuple[Any, ...], user_id: str) -> str:
    """Hash of all that a user's list under `settings` depends on."""
    return fingerprint(settings, *state, sorted(histories.low_rated(workspace, user_id)))


class Kept:
    """The last lists that a recommender made, each until something changes that it depends on."""

    def __init__(self, recommender: Recommender, most: int = _ITEMS) -> None:
        self._recommender, self._most = recommender, most
        self._lists: OrderedDict[tuple[object, ...], tuple[str, RecommendationList]] = OrderedDict()

    def recommend(self, user_id: str, k: int = 10, candidates: int = 100) -> RecommendationList:
        """See `Recommender.recommend`; `timing` is that of this call."""
        began, name = time.perf_counter(), (user_id, k, candidates)
        workspace = self._recommender.workspace
        state = state_of(self._recommender, pictures_of(workspace, self._recommender.cast))
        now = key_of(workspace, "", state, user_id)
        then, found = self._lists.pop(name, ("", None))
        if found is None or then != now:
            found = self._recommender.recommend(user_id, k, candidates)
        else:
            took = round(time.perf_counter() - began, 3)
            spans = dict.fromkeys(("recall_s", "summary_s", "score_s"), 0.0)
            found = replace(found, timing={**found.timing, **spans, "total_s": took})
        self._lists[name] = now, found
        while sum(len(one.items) for _, one in self._lists.values()) > self._most and len(self._lists) > 1:
            self._lists.popitem(last=False)
        return found
