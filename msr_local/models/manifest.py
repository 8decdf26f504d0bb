"""The manifest of an adapter: what it is, what it was made from, and how good it is. Imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path, PureWindowsPath
from typing import Any

from ..errors import ModelError
from ..store.runs import finite
from ..text import storable

FORMAT = 1
FILE_NAME = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an adapter is, what it was made from and how good it is. Files are named by form.

    The forms: "adapter", a LoRA that is loaded beside its base; "merged", a model of its own.
    """

    name: str
    created: str
    run_id: str
    backend: str
    base: dict[str, Any]  # name, model, model_sha256, mmproj, mmproj_sha256, licence
    files: dict[str, dict[str, Any]]  # form: file, sha256, bytes, quantisation
    prompts: dict[str, str]  # name of a prompt template: its sha256
    recipe: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, Any]
    split: dict[str, Any]
    metrics: dict[str, Any]  # "before" and "after" training: {"auc": {"value", "ci95": [low, high]}, …}
    parity: dict[str, Any]
    calibration: dict[str, float] | None  # of the answers alone: sigmoid(a z + b); a list is ordered by the score
    fusion: dict[str, Any]  # weights of recall in the score, "recall": by hand, "learned"; and their "calibration"
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        names = ["format", *(one.name for one in fields(self) if one.name != "format")]
        document: dict[str, Any] = finite({name: getattr(self, name) for name in names})
        return document

    def calibrated(self, kind: str) -> tuple[float, float] | None:
        """(a, b) of the probability sigmoid(a score + b), with "recall" by hand or "learned"; None: was not fitted."""
        fitted = (self.fusion.get("calibration") or {}).get(kind)
        return (fitted["a"], fitted["b"]) if fitted else None

    @classmethod
    def read(cls, place: Path) -> Manifest | None:
        """The manifest of the folder `place`; None where there is none. Raises `ModelError` when it is broken."""
        where = place / FILE_NAME
        try:
            manifest = cls.from_json(json.loads(where.read_text(encoding="utf-8")), where)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise _broken(where, getattr(error, "strerror", None) or str(error)) from error
        if manifest.name != place.name:
            raise _broken(where, f"it belongs to adapter {manifest.name!r}")
        return manifest

    @classmethod
    def unreadable(cls, name: str) -> Manifest:
        """Stands for a manifest of which nothing but the name of its folder is known."""
        nothing: dict[str, Any] = {key: {} for key, kind in _TYPES.items() if kind is dict}
        nothing |= dict.fromkeys(("created", "run_id", "backend"), "")
        return cls(**{**nothing, "name": name, "base": {**dict.fromkeys(_BASE), "name": ""}, "calibration": None})

    @classmethod
    def from_json(cls, document: Any, where: Path) -> Manifest:
        """The manifest that `document`, the content of the file `where`, holds; keys unknown to it are ignored.

        Raises `ModelError`, which names file and key, for what is missing, of a wrong type or no plain file name.
        """
        document = finite(document)
        number = _value(document, "format", int, where)
        if number != FORMAT:
            raise ModelError(
                f"{where}: format {number}, but this msr-local reads format {FORMAT}. Next: upgrade msr-local."
            )
        values = {key: _value(document, key, kind, where) for key, kind in _TYPES.items()}
        for key, kind in _BASE.items():
            _value(values["base"], key, kind, where, "base.")
        if not values["files"]:
            raise _broken(where, "it names no file")
        for form in values["files"]:
            entry = _value(values["files"], form, dict, where, "files.")
            for key, kind in _FILE.items():
                _value(entry, key, kind, where, f"files.{form}.")
            if not _plain(entry["file"]):
                raise _broken(where, f"files.{form}.file is {entry['file']!r}, which is no plain file name")
        for template in values["prompts"]:
            _value(values["prompts"], template, str, where, "prompts.")
        for key in ("a", "b") if values["calibration"] is not None else ():
            _value(values["calibration"], key, (int, float), where, "calibration.")
        for key in ("recall", "learned") if values["fusion"].get("learned") is not None else ("recall",):
            _value(values["fusion"], key, (int, float), where, "fusion.")
        _check_calibration(values["fusion"], where)
        _value(values["settings"], "max_length", int, where, "settings.")
        return cls(**values)


_Kind = type | tuple[type, ...]
_MAYBE_TEXT: _Kind = (str, type(None))
_TYPES: dict[str, _Kind] = {
    **dict.fromkeys(("name", "created", "run_id", "backend"), str),
    **dict.fromkeys(
        ("base", "files", "prompts", "recipe", "settings", "versions", "split", "metrics", "parity", "fusion"), dict
    ),
    "calibration": (dict, type(None)),
}
_BASE: dict[str, _Kind] = {
    "name": str, "model": str, "model_sha256": str, "mmproj": _MAYBE_TEXT, "mmproj_sha256": _MAYBE_TEXT,
    "licence": _MAYBE_TEXT,
}  # fmt: skip
_FILE: dict[str, _Kind] = {"file": str, "sha256": str, "bytes": int, "quantisation": _MAYBE_TEXT}


def _value(document: Any, key: str, kind: _Kind, where: Path, inside: str = "") -> Any:
    if not isinstance(document, dict):
        raise _broken(where, "it holds no JSON object")
    if key not in document:
        raise _broken(where, f"the key {inside}{key} is missing")
    value = document[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _broken(where, f"{inside}{key} has the wrong type ({type(value).__name__})")
    return value


def _check_calibration(fusion: dict[str, Any], where: Path) -> None:
    """Of each kind of recall None or {"a", "b"}, a over 0; manifests of earlier releases have none at all."""
    kinds = _value(fusion, "calibration", dict, where, "fusion.") if fusion.get("calibration") is not None else {}
    for kind in ("recall", "learned"):
        if kinds.get(kind) is not None:
            inside = f"fusion.calibration.{kind}."
            for key in ("a", "b"):
                _value(kinds[kind], key, (int, float), where, inside)
            if kinds[kind]["a"] <= 0:
                raise _broken(where, f"{inside}a is {kinds[kind]['a']}, and must be over 0")


def _plain(file: str) -> bool:
    """Whether `file` names a file in a folder and nothing else, on any system."""
    return storable(file) == file == PureWindowsPath(file).name and file not in {"", ".", "..", FILE_NAME}


def _broken(where: Path, why: str) -> ModelError:
    return ModelError(f"{where}: not a usable manifest ({why}). Next: msr-local adapters rm {where.parent.name}.")
