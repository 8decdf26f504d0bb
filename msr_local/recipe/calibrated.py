"""How answer and recall make the score in a workspace: what was fitted to its own histories, if anything was."""

from __future__ import annotations

from typing import Any

from ..models.spec import Fused
from ..store.workspace import Workspace

_SETTING = "calibration"  # {settings of the judge: {kind of recall: facts}}


def kind_of(learned: bool) -> str:
    """The kind of recall that a weight is for."""
    return "learned" if learned else "hand-set"


def facts(workspace: Workspace, settings: str, learned: bool) -> dict[str, Any] | None:
    """What was fitted under these settings of a judge, and how good it is; None where nothing was."""
    kept: dict[str, Any] | None = (workspace.setting(_SETTING) or {}).get(settings, {}).get(kind_of(learned))
    return kept


def fused(workspace: Workspace, settings: str, learned: bool) -> Fused | None:
    """The weight and the calibration that were fitted, if any were."""
    kept = facts(workspace, settings, learned)
    return Fused.from_json(kept["fused"]) if kept else None


def keep(workspace: Workspace, settings: str, learned: bool, found: dict[str, Any] | None) -> None:
    """Keep what was fitted, in the place of what was before; None forgets that."""
    with workspace.write():
        everything = workspace.setting(_SETTING) or {}
        mine = everything.setdefault(settings, {})
        mine.pop(kind_of(learned), None)
        if found is not None:
            mine[kind_of(learned)] = found
        workspace.set_setting(_SETTING, {key: value for key, value in everything.items() if value})
