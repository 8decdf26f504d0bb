"""Reading and writing what models made: captions, preference summaries, scores. Each row is one commit."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec

import numpy as np
import numpy.typing as npt

from ..arrays import Floats
from .rows import Item, LearnedRow, ListedItem, Preference, Score
from .workspace import Workspace, now

LEARNED = 1  # the format of what is learned about ranking: another number where older ones cannot be used
_ASKED = 500  # keys in one statement
P = ParamSpec("P")


def _kept_if_possible(save: Callable[Concatenate[Workspace, P], None]) -> Callable[Concatenate[Workspace, P], None]:
    """A read-only workspace does without: whoever needs the result again has it made again."""

    @functools.wraps(save)
    def kept(workspace: Workspace, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not workspace.read_only:
            save(workspace, *args, **kwargs)

    return kept


def captions(workspace: Workspace, settings: str) -> dict[str, tuple[str, str]]:
    """{item id: (key, caption)} of all captions made under `settings`."""
    rows = workspace.execute("SELECT item_id, key, caption FROM captions WHERE settings = ?", [settings])
    return {item_id: (key, caption) for item_id, key, caption in rows}


def caption(workspace: Workspace, item_id: str, settings: str, key: str) -> str | None:
    """The caption of an item, if one is there for exactly this input."""
    text: str | None = workspace.one(
        "SELECT caption FROM captions WHERE item_id = ? AND settings = ? AND key = ?", [item_id, settings, key]
    )
    return text


def save_caption(workspace: Workspace, item: Item, settings: str, key: str, text: str, model: str) -> None:
    """Keep the caption of an item's present picture."""
    with workspace.write():
        workspace.execute(
            "INSERT OR REPLACE INTO captions (item_id, settings, key, caption, image_sha256, model, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [item.item_id, settings, key, text, item.image_sha256, model, now()],
        )


def preferences(workspace: Workspace, user_id: str, settings: str) -> dict[int, Preference]:
    """{block: summary} of a user under `settings`, valid or not: compare the keys."""
    rows = workspace.execute(
        "SELECT block, summary, first_timestamp, last_timestamp, items, key FROM preferences"
        " WHERE user_id = ? AND settings = ?",
        [user_id, settings],
    )
    return {
        block: Preference(block, summary, start, end, tuple(json.loads(items)), key)
        for block, summary, start, end, items, key in rows
    }


def users_summarised(workspace: Workspace, settings: str) -> int:
    """How many users have a summary under `settings`."""
    count: int = workspace.one("SELECT count(DISTINCT user_id) FROM preferences WHERE settings = ?", [settings])
    return count


@_kept_if_possible
def save_preference(workspace: Workspace, user_id: str, settings: str, preference: Preference, model: str) -> None:
    """Keep one block's summary; whatever stood in its place, and all after it, was made stale by it."""
    with workspace.write():
        workspace.execute(
            "DELETE FROM preferences WHERE user_id = ? AND settings = ? AND block >= ?",
            [user_id, settings, preference.block],
        )
        workspace.execute(
            "INSERT INTO preferences (user_id, block, settings, key, summary, first_timestamp, last_timestamp,"
            " items, model, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                user_id, preference.block, settings, preference.key, preference.summary, preference.start,
                preference.end, json.dumps(preference.items), model, now(),
            ],
        )  # fmt: skip


@_kept_if_possible
def keep_preferences(workspace: Workspace, user_id: str, settings: str, first: int, last: int) -> None:
    """Keep blocks `first` to `last` only: the others are no longer part of the user's chain."""
    with workspace.write():
        workspace.execute(
            "DELETE FROM preferences WHERE user_id = ? AND settings = ? AND (block < ? OR block > ?)",
            [user_id, settings, first, last],
        )


def past_summary(workspace: Workspace, key: str) -> str | None:
    """A summary that was made for a point of the past, by the hash of all that made it."""
    text: str | None = workspace.one("SELECT summary FROM past_summaries WHERE key = ?", [key])
    return text


@_kept_if_possible
def save_past_summary(workspace: Workspace, key: str, summary: str, settings: str) -> None:
    """Keep a summary of the past, made under `settings`; the user's present chain is not touched."""
    with workspace.write():
        workspace.execute(
            "INSERT OR REPLACE INTO past_summaries (key, summary, created, settings) VALUES (?, ?, ?, ?)",
            [key, summary, now(), settings],
        )


def answer(workspace: Workspace, key: str) -> tuple[float, float] | None:
    """(log-odds, coverage) of a question about a point of the past, by the hash of all that made it."""
    row: tuple[float, float] | None = workspace.execute(
        "SELECT log_odds, coverage FROM answers WHERE key = ?", [key]
    ).fetchone()
    return row


@_kept_if_possible
def save_answer(workspace: Workspace, key: str, log_odds: float, coverage: float, settings: str) -> None:
    """Keep an answer about the past, given under `settings`."""
    with workspace.write():
        workspace.execute(
            "INSERT OR REPLACE INTO answers (key, log_odds, coverage, created, settings) VALUES (?, ?, ?, ?, ?)",
            [key, log_odds, coverage, now(), settings],
        )


def vectors(workspace: Workspace, keys: Sequence[str]) -> dict[str, npt.NDArray[np.float16]]:
    """The vectors that are there under these keys, each of shape [D]."""
    found: dict[str, npt.NDArray[np.float16]] = {}
    for start in range(0, len(keys), _ASKED):
        some = keys[start : start + _ASKED]
        rows = workspace.execute(f"SELECT key, vector FROM vectors WHERE key IN ({','.join('?' * len(some))})", some)
        found |= {key: np.frombuffer(vector, "<f2") for key, vector in rows}
    return found


@_kept_if_possible
def save_vectors(workspace: Workspace, found: Mapping[str, Floats]) -> None:
    """Keep vectors as halves, under the hash of all that made each."""
    with workspace.write():
        workspace.db.conn.executemany(
            "INSERT OR REPLACE INTO vectors (key, vector, created) VALUES (?, ?, ?)",
            [(key, vector.astype("<f2").tobytes(), now()) for key, vector in found.items()],
        )


def learned_recall_key(workspace: Workspace) -> str | None:
    """Hash of all that the learned recall was made of; None where nothing was learned."""
    key: str | None = workspace.one("SELECT key FROM learned_recall WHERE format = ?", [LEARNED])
    return key


def learned_recall_facts(workspace: Workspace) -> dict[str, Any] | None:
    """What recall was learned from and how good it is; None where nothing was learned."""
    facts = workspace.one("SELECT facts FROM learned_recall WHERE format = ?", [LEARNED])
    found: dict[str, Any] | None = facts and json.loads(facts)
    return found


def learned_recall(workspace: Workspace) -> LearnedRow | None:
    """What was learned about ranking, if anything."""
    row = workspace.execute(
        "SELECT key, fusion, facts, item_ids, towers, created FROM learned_recall WHERE format = ?", [LEARNED]
    ).fetchone()
    if row is None:
        return None
    key, fusion, facts, item_ids, towers, since = row
    return LearnedRow(key, json.loads(fusion), json.loads(facts), json.loads(item_ids), towers, since)


def captioned_since_learning(workspace: Workspace, settings: str) -> set[str]:
    """The items that got their caption under `settings` after the texts were read that recall was learned from."""
    rows = workspace.execute(
        "SELECT item_id FROM captions WHERE settings = ? AND created > (SELECT created FROM learned_recall)", [settings]
    )
    return {item_id for (item_id,) in rows}


def save_learned_recall(workspace: Workspace, row: LearnedRow) -> None:
    """Keep what was learned, in the place of what was learned before."""
    with workspace.write():
        workspace.execute(
            "INSERT OR REPLACE INTO learned_recall (id, format, key, fusion, facts, item_ids, towers, created)"
            " VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            [LEARNED, row.key, *map(json.dumps, (row.fusion, row.facts, row.item_ids)), row.towers, row.since],
        )


def scores(workspace: Workspace, user_id: str, settings: str, without: str = "") -> dict[str, Score]:
    """{item id: score} of a user's questions under `settings`, valid or not: compare the keys."""
    rows = workspace.execute(
        "SELECT item_id, log_odds, p_yes, coverage, key FROM scores WHERE user_id = ? AND settings = ? AND without = ?",
        [user_id, settings, without],
    )
    return {row[0]: Score(*row) for row in rows}


@_kept_if_possible
def save_score(workspace: Workspace, user_id: str, settings: str, score: Score, model: str, without: str = "") -> None:
    """Keep an answer; `without` names the evidence that was left out of the question."""
    with workspace.write():
        workspace.execute(
            "INSERT INTO scores (user_id, item_id, without, settings, key, log_odds, p_yes, coverage, model, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user_id, item_id, without, settings) DO UPDATE SET"
            " key = excluded.key, log_odds = excluded.log_odds, p_yes = excluded.p_yes,"
            " coverage = excluded.coverage, model = excluded.model, created = excluded.created",
            [
                user_id, score.item_id, without, settings, score.key, score.log_odds, score.p_yes, score.coverage,
                model, now(),
            ],
        )  # fmt: skip


@_kept_if_possible
def save_ranking(
    workspace: Workspace, user_id: str, settings: str, ranking: Iterable[tuple[str, float, float]]
) -> None:
    """Keep the last ranking: (item id, recall, fused score) of each candidate; older ones lose their rank."""
    with workspace.write():
        workspace.execute("UPDATE scores SET recall = NULL, score = NULL WHERE user_id = ?", [user_id])
        workspace.db.conn.executemany(
            "UPDATE scores SET recall = ?, score = ? WHERE user_id = ? AND item_id = ? AND settings = ?"
            " AND without = ''",
            [(recall, score, user_id, item_id, settings) for item_id, recall, score in ranking],
        )


def list_key(workspace: Workspace, user_id: str, settings: str) -> str | None:
    """Hash of all that a user's list under `settings` was made of; None where there is none."""
    key: str | None = workspace.one("SELECT key FROM lists WHERE user_id = ? AND settings = ?", [user_id, settings])
    return key


def list_items(workspace: Workspace, user_id: str, settings: str) -> list[ListedItem]:
    """A user's list under `settings`, valid or not, the best first."""
    items = workspace.one("SELECT items FROM lists WHERE user_id = ? AND settings = ?", [user_id, settings])
    return [ListedItem(*one) for one in json.loads(items or "[]")]


def save_list(workspace: Workspace, user_id: str, settings: str, key: str, items: Iterable[ListedItem]) -> None:
    """Keep a user's list in the place of the one before."""
    with workspace.write():
        workspace.execute(
            "INSERT OR REPLACE INTO lists (user_id, settings, key, items, created) VALUES (?, ?, ?, ?, ?)",
            [user_id, settings, key, json.dumps(list(items)), now()],
        )
