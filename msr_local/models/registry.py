"""The adapters of a workspace: one folder each, `adapters/NAME/`, with the files and a `manifest.json`.

The folders are the truth; the rows in SQLite are an index of them for people who read tables. A folder is
made elsewhere and moved here whole, so there is never half an adapter. Two hidden names are used on the way:
`.NAME.old`, an adapter while its successor takes its place, and `.NAME.gone`, one that is being deleted. What
a killed process leaves of them, and rows that do not agree with the folders, is mended by the next call. All
moves are made inside a write transaction, whose lock keeps other processes from mending meanwhile.

Imports nothing heavy: every recommendation asks here which adapter is active.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import InputError, ModelError, NotFoundError
from ..files import sha256, written_whole
from ..store import runs
from ..store.workspace import Workspace
from ..text import storable
from .manifest import FILE_NAME, Manifest

__all__ = [
    "Manifest",
    "activate",
    "active",
    "check",
    "check_base",
    "find",
    "folder",
    "list_adapters",
    "register",
    "remove",
    "require",
    "valid_name",
]

_SETTING = "adapter"
NONE = "none"  # as the name of an adapter: the plain model answers
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_OLD, _GONE = ".old", ".gone"
_LEFT = re.compile(rf"\.{_NAME.pattern}(\{_OLD}|\{_GONE})")


def valid_name(name: str) -> str:
    """`name`, if an adapter can have it.

    Letters, digits, "_", "." and "-", at most 64, begun by none of the last two; so it is always the name of
    one folder, and never an option. "none" stands for no adapter. Raises `InputError` for any other.
    """
    if not _possible(name):
        raise InputError(
            f"{name!r} cannot be the name of an adapter. Next: at most 64 letters, digits, '_', '.' and '-', "
            "beginning with a letter or digit, and not 'none'."
        )
    return name


def folder(workspace: Workspace, name: str) -> Path:
    """Where the adapter `name` is or would be. Raises `InputError` for a name that cannot be one."""
    return _root(workspace) / valid_name(name)


def register(workspace: Workspace, staged: Path, manifest: Manifest) -> Path:
    """Make the folder `staged`, which holds all files of `manifest`, the adapter of that name; its new place.

    Another adapter of this name is kept until the new one is there whole. Doing it again after a kill is
    harmless, wherever the kill came. `staged` is to be on the workspace's file system, outside `adapters/`.
    Raises `ModelError` when a file is missing or of another size than its manifest says.
    """
    target = folder(workspace, manifest.name)
    if not staged.exists() and _same_run(target, manifest):  # killed after the move
        _mend(workspace)
        return target
    manifest = Manifest.from_json(manifest.to_json(), staged / FILE_NAME)
    for entry in manifest.files.values():
        _require_size(staged / entry["file"], entry["bytes"], manifest.name)
    with written_whole(staged / FILE_NAME) as part:  # the last file to come: from here on the folder is whole
        part.write_text(json.dumps(manifest.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    aside = _hidden(workspace, manifest.name, _OLD)
    with workspace.write():
        _mend(workspace)
        if target.exists():
            os.rename(target, aside)  # noqa: PTH104
        try:
            os.rename(staged, target)  # noqa: PTH104
        except OSError:
            if aside.exists():
                os.rename(aside, target)  # noqa: PTH104
            raise
        _index(workspace, manifest)
    shutil.rmtree(aside, ignore_errors=True)
    return target


def exists(workspace: Workspace, name: str) -> bool:
    """Whether there is an adapter of this name, broken or not."""
    try:
        require(workspace, name)
    except NotFoundError:
        return False
    return True


def require(workspace: Workspace, name: str) -> Path:
    """The folder of an adapter, broken or not. Raises `NotFoundError`, with similar names, when it is not there."""
    place = folder(workspace, name)
    if not (place / FILE_NAME).exists():
        _mend(workspace)  # a process was killed while it replaced the adapter
        with workspace.settled():  # or takes it just now: folders move under this lock only
            if not (place / FILE_NAME).exists():
                raise _missing(workspace, name)
    return place


def find(workspace: Workspace, name: str) -> Manifest:
    """The manifest of an adapter.

    Raises `NotFoundError`, with similar names, when there is none, and `ModelError` when its manifest is broken.
    """
    manifest = Manifest.read(folder(workspace, name))
    if manifest is None:
        with workspace.settled():  # its successor cannot begin to take its place before we have read
            manifest = Manifest.read(require(workspace, name))
    if manifest is None:
        raise _missing(workspace, name)
    return manifest


def list_adapters(workspace: Workspace) -> list[tuple[Manifest, str | None]]:
    """All adapters by name, each with what is wrong with its manifest or files, or None.

    Of a manifest that cannot be read, all but the name is empty.
    """
    _mend(workspace)
    found: list[tuple[Manifest, str | None]] = []
    for place in _folders(workspace):
        try:
            manifest = Manifest.read(place)
        except ModelError as error:
            found.append((Manifest.unreadable(place.name), str(error)))
            continue
        if manifest is not None:
            found.append((manifest, _complaint(workspace, manifest)))
    return found


def check(workspace: Workspace, manifest: Manifest, prompt_sha256: Mapping[str, str]) -> None:
    """Raise `ModelError` unless all files are those of the manifest, and all prompts those of its training.

    `prompt_sha256` has the present hash of each template by name.
    """
    _check_files(workspace, manifest)
    check_prompts(manifest, prompt_sha256)


def check_prompts(manifest: Manifest, prompt_sha256: Mapping[str, str]) -> None:
    """Raise `ModelError` unless all prompts, as {template: sha256}, are those of the adapter's training."""
    for template, trained in manifest.prompts.items():
        if prompt_sha256.get(template) != trained:
            raise ModelError(
                f"adapter {manifest.name} was trained with a different version of the prompt {template!r}. "
                f"Next: restore prompts/{template}.j2, or msr-local finetune, "
                "or msr-local adapters use none."
            )


def check_form(manifest: Manifest, form: str) -> None:
    """Raise `ModelError` unless the adapter has that form."""
    if form not in manifest.files:
        forms = " or ".join(manifest.files)
        raise ModelError(f"adapter {manifest.name} has no file for --form {form}. Next: --form {forms}.")


def check_base(manifest: Manifest, model_sha256: str, mmproj_sha256: str | None) -> None:
    """Raise `ModelError` unless these hashes are those of the adapter's base model.

    An adapter that was made without a projector was trained without pictures, and works with any projector.
    """
    base, wrong = manifest.base, None
    if base["model_sha256"] != model_sha256:
        wrong = "model"
    elif base["mmproj_sha256"] is not None and base["mmproj_sha256"] != mmproj_sha256:
        wrong = "projector"
    if wrong:
        raise ModelError(
            f"adapter {manifest.name} was trained with another {wrong}: that of {base['name']} ({base['model']}). "
            f"Next: msr-local adapters use {manifest.name}, or msr-local adapters use none."
        )


def remove(workspace: Workspace, name: str) -> None:
    """Delete an adapter, broken or not; when it is the active one, none is active any more.

    Raises `NotFoundError` when it is not there.
    """
    place = require(workspace, name)
    chosen = active(workspace)
    if chosen and chosen[0] == name:
        activate(workspace, None)  # first, so that no kill leaves a missing adapter active
    gone = _hidden(workspace, name, _GONE)
    with workspace.write():
        _mend(workspace)
        os.rename(place, gone)  # noqa: PTH104
        runs.delete_adapter(workspace, name)
    shutil.rmtree(gone, ignore_errors=True)


def activate(workspace: Workspace, name: str | None, form: str = "adapter") -> None:
    """Make the `form` of an adapter the one that answers; `NONE` means the plain model, None the default.

    Raises `NotFoundError` for an unknown adapter, `ModelError` for a broken one or one without that form.
    """
    if name not in (None, NONE):
        check_form(find(workspace, name), form)
    workspace.set_setting(_SETTING, None if name is None else {"name": name, "form": form})


def active(workspace: Workspace) -> tuple[str, str] | None:
    """Name and form of the adapter that was chosen, there or not; (`NONE`, …) for the plain model, None for none."""
    kept = workspace.setting(_SETTING)
    return (kept["name"], kept["form"]) if kept else None


def _possible(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name.lower() != NONE


def _missing(workspace: Workspace, name: str) -> NotFoundError:
    near = difflib.get_close_matches(name, _readable(workspace))
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return NotFoundError(
        f"there is no adapter {name!r}.{hint} Next: msr-local adapters list, or msr-local adapters use none."
    )


def _root(workspace: Workspace) -> Path:
    root = workspace.home / "adapters"
    if not workspace.read_only:
        root.mkdir(exist_ok=True)
    return root


def _inside(workspace: Workspace) -> list[Path]:
    """The folders beside each other where adapters are, by name."""
    root = _root(workspace)
    return sorted(place for place in root.iterdir() if place.is_dir()) if root.is_dir() else []


def _hidden(workspace: Workspace, name: str, state: str) -> Path:
    """Where an adapter is on its way out. No adapter's name begins with a dot."""
    return _root(workspace) / f".{name}{state}"


def _folders(workspace: Workspace) -> Iterator[Path]:
    return (place for place in _inside(workspace) if _possible(place.name))


def _leftovers(workspace: Workspace) -> list[Path]:
    return [place for place in _inside(workspace) if _LEFT.fullmatch(place.name)]


def _readable(workspace: Workspace) -> dict[str, Manifest]:
    found: dict[str, Manifest] = {}
    for place in _folders(workspace):
        try:
            manifest = Manifest.read(place)
        except ModelError:
            continue
        if manifest is not None:
            found[place.name] = manifest
    return found


def _mend(workspace: Workspace) -> None:
    """Finish what a killed process began, and bring the rows in line with the folders."""
    if workspace.read_only:
        return
    indexed = {row.name: row.manifest for row in runs.adapters(workspace)}
    present = {name: manifest.to_json() for name, manifest in _readable(workspace).items()}
    if indexed == present and not _leftovers(workspace):
        return  # the usual case takes no lock
    with workspace.write():
        for left in _leftovers(workspace):
            place = left.with_name(left.name[1:].removesuffix(left.suffix))
            if left.suffix == _OLD and not place.exists():
                os.rename(left, place)  # noqa: PTH104 - its successor never came
            else:
                shutil.rmtree(left, ignore_errors=True)
        manifests = _readable(workspace)
        for row in runs.adapters(workspace):
            if row.name not in manifests:
                runs.delete_adapter(workspace, row.name)
        for manifest in manifests.values():
            _index(workspace, manifest)


def _index(workspace: Workspace, manifest: Manifest) -> None:
    row = runs.Adapter(
        name=manifest.name,
        run_id=storable(manifest.run_id),
        base=storable(manifest.base["name"]),
        base_sha256=storable(manifest.base["model_sha256"]),
        manifest=manifest.to_json(),
        created=storable(manifest.created),
    )
    runs.save_adapter(workspace, row)


def _same_run(place: Path, manifest: Manifest) -> bool:
    there = Manifest.read(place)
    return there is not None and there.run_id == manifest.run_id


def _check_files(workspace: Workspace, manifest: Manifest) -> None:
    for entry in manifest.files.values():
        path = folder(workspace, manifest.name) / entry["file"]
        _require_size(path, entry["bytes"], manifest.name)
        try:
            found = sha256(path)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}). Next: check its rights.") from error
        if found != entry["sha256"]:
            raise _other_file(path, "the content differs", manifest.name)


def _require_size(path: Path, size: int, name: str) -> None:
    if not path.is_file():
        raise _other_file(path, "it is missing", name)
    if path.stat().st_size != size:
        raise _other_file(path, f"{path.stat().st_size:,} bytes instead of {size:,}", name)


def _other_file(path: Path, why: str, name: str) -> ModelError:
    return ModelError(
        f"{path}: not the file that the manifest of adapter {name} describes ({why}). Next: restore the file, or "
        f"msr-local adapters rm {name}."
    )


def _complaint(workspace: Workspace, manifest: Manifest) -> str | None:
    try:
        _check_files(workspace, manifest)
    except ModelError as error:
        return str(error)
    return None
