"""What msr-local ships in `adapters/` for the embedded model: eyes, a captioner, a summariser and a recommender.

Each is a folder with one GGUF file and a manifest that says how it was made and how good it is. How the
project makes them stands in `embedded/` in its repository.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..files import package_data
from ..store.workspace import Workspace
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


def find(workspace: Workspace, name: str) -> Part | None:
    """The shipped part `name`; None where this installation has none of that name.

    Raises `ModelError` when its file is not the one of the manifest, or was made for another embedded model.
    """
    folder = package_data("adapters") / name
    where = folder / FILE_NAME
    if not where.is_file():
        return None
    try:
        manifest: dict[str, Any] = json.loads(where.read_text(encoding="utf-8"))
        (entry,) = (manifest["files"][form] for form in manifest["files"])
        file, sha256, version = folder / entry["file"], entry["sha256"], manifest["base"]["version"]
        found = workspace.file_sha256(file)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(where, f"cannot be used ({error!r})") from error
    if found != sha256:
        raise _broken(file, "not the file that was shipped")
    if version != embedded.version():
        raise _broken(where, f"made for {embedded.PACKAGE} {version}, and {embedded.version()} is installed")
    return Part(name, file, sha256, manifest)


def _broken(where: Path, why: str) -> ModelError:
    return ModelError(f"{where}: {why}. Next: install msr-local anew, or give --model FILE.")
