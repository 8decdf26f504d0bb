"""Names that this machine's user gave to pulled models. A light module: it is asked for each spec."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..errors import InputError
from ..files import data_folder, written_whole
from .aliases import ALIASES

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TAKEN = {"embedded", "none", *ALIASES}


def own() -> dict[str, str]:
    """{name: the spec that it stands for}; a file that cannot be read is none."""
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(spec) for name, spec in found.items()} if isinstance(found, dict) else {}


def valid(name: str) -> str:
    """`name`, if it can be one. Raises `InputError`."""
    if name in _TAKEN or not _NAME.fullmatch(name) or name.endswith(".gguf"):
        raise InputError(
            f"{name!r} cannot be an alias: small letters, digits, '.', '-' and '_', and none that msr-local has. "
            "Next: another name."
        )
    return name


def remember(name: str, spec: str) -> None:
    """Let `name` stand for `spec` from now on. Raises `InputError` for what cannot be a name, `FileError`."""
    known = own() | {valid(name): spec}
    with written_whole(_file()) as part:
        part.write_text(json.dumps(known, indent=1), encoding="utf-8")


def _file() -> Path:
    return data_folder() / "aliases.json"
