"""What can be said of a GGUF file without loading it."""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelError


def require_gguf(path: Path) -> None:
    """Raise `ModelError` unless `path` is a readable file that begins like a GGUF of a known version."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: cannot read this model file ({error.strerror}). Next: check the path.") from error
    if head[:4] != b"GGUF" or int.from_bytes(head[4:8], "little") not in (2, 3):
        raise ModelError(f"{path}: not a GGUF model file (version 2 or 3). Next: give one made for llama.cpp.")
