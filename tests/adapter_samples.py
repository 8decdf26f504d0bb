"""Small adapters, made of a few bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from msr_local.models.manifest import Manifest

FILES = {"adapter": b"GGUF lora", "merged": b"GGUF merged model"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def based_on(model: Path, mmproj: Path | None = None, *, name: str = "tiny") -> dict[str, Any]:
    """A manifest's `base` for these files."""
    return {
        "name": name, "licence": None,
        "model": str(model), "model_sha256": sha256(model.read_bytes()),
        "mmproj": str(mmproj) if mmproj else None, "mmproj_sha256": sha256(mmproj.read_bytes()) if mmproj else None,
    }  # fmt: skip


def staged(
    home: Path, name: str = "first", content: dict[str, bytes] | None = None, **more: Any
) -> tuple[Path, Manifest]:
    """A folder of `home` that is ready to be registered, and its manifest."""
    content = FILES if content is None else content
    place = home / "runs" / "staged"
    place.mkdir(parents=True)
    for form, data in content.items():
        (place / f"{form}.gguf").write_bytes(data)
    return place, manifest(name, content, **more)


def manifest(name: str = "first", content: dict[str, bytes] = FILES, **more: Any) -> Manifest:
    """A manifest of `content`."""
    values: dict[str, Any] = {
        "name": name,
        "created": "2026-01-02T03:04:05+00:00",
        "run_id": "r1",
        "backend": "peft",
        "base": {
            "name": "embedded", "model": "/gone.gguf", "model_sha256": "ab", "mmproj": None, "mmproj_sha256": None,
            "licence": "Apache-2.0",
        },
        "files": {
            form: {"file": f"{form}.gguf", "sha256": sha256(data), "bytes": len(data), "quantisation": "q8_0"}
            for form, data in content.items()
        },
        "prompts": {},
        "recipe": {"name": "full"},
        "settings": {"max_length": 512},
        "versions": {},
        "split": {},
        "metrics": {"after": {"auc": {"value": 0.7123, "ci95": [0.69, 0.73]}}},
        "parity": {},
        "calibration": {"a": 1.5, "b": -0.5},
        "fusion": {"recall": 0.25, "learned": None,
                   "calibration": {"recall": {"a": 0.5, "b": -4.0}, "learned": None}},
    }  # fmt: skip
    return Manifest(**(values | more))
