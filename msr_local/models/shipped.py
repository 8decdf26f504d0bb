"""What `adapters/` holds for the embedded model: a projector (`eyes`), a captioner, a summariser and a recommender.

Each is a folder with one GGUF file and a manifest that says how it was made and how good it is. How the
project makes them stands in `embedded/` in its repository.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..files import package_data, sha256
from . import embedded

EYES, CAPTIONER, SUMMARISER, RECOMMENDER = "eyes", "captioner", "summariser", "recommender"
FILE_NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Part:
    """One shipped file and its manifest."""

    name: str
    file: Path
    sha256: str
    manifest: dict[str, Any]


def find(name: str) -> Part | None:
    """The shipped part `name`; None where this installation has none of that name.

    Raises `ModelError` when its file is not the one of the manifest, or was made for another embedded model.
    """
    where = package_data("adapters") / name / FILE_NAME
    if not where.is_file():
        return None
    try:
        document = json.loads(where.read_text(encoding="utf-8"))
        (entry,) = document["files"].values()
        file, version = where.parent / entry["file"], document["base"]["version"]
        found = sha256(file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(where, f"cannot be used ({error!r})") from error
    if found != entry["sha256"]:
        raise _broken(file, "the file has changed since it was shipped")
    if version != embedded.version():
        raise _broken(where, f"made for {embedded.PACKAGE} {version}, and {embedded.version()} is installed")
    return Part(name, file, found, document)


def complaint(name: str) -> str | None:
    """Why the part `name` cannot be used, or None."""
    try:
        find(name)
    except ModelError as error:
        return str(error)
    return None


def _broken(where: Path, why: str) -> ModelError:
    return ModelError(
        f"{where}: {why}. Next: reinstall msr-local, or choose another model with msr-local models use FILE."
    )
