"""Folders as llama.cpp's pinned converter reads them, where it stumbles over what transformers writes.

Each function gives the folder itself, or a view of it that lies in a temporary folder: links, and what was changed.
"""

from __future__ import annotations

import contextlib
import json
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PREDICTING = ("qwen3_5", "qwen3_next")  # model types with weights that guess the token after the next
_PREDICTORS = "mtp_num_hidden_layers"
_POSITIONS = "embeddings.position_embeddings"
_EYES = ("vision_tower.", "multi_modal_projector.")  # as transformers calls InternVL's; the converter: "model." + that


def predicts(folder: Path) -> bool:
    """Whether the converter looks for weights that predict further tokens: transformers neither loads nor saves them.

    Nothing here needs them; the merged model would lack them anyway.
    """
    return str(_config(folder).get("model_type", "")).startswith(_PREDICTING)


@contextlib.contextmanager
def predicting(folder: Path) -> Iterator[Path]:
    """The folder of an adapter's base, whose config.json has to name such weights: they are not looked for."""
    config = _config(folder)
    text = config.get("text_config", config)
    if not predicts(folder) or text.get(_PREDICTORS):
        yield folder
        return
    text[_PREDICTORS] = 1
    with _view(folder, "config.json") as view:
        (view / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield view


@contextlib.contextmanager
def eyes(folder: Path) -> Iterator[Path]:
    """The folder with the weights of InternVL's projector as the converter and llama.cpp want them."""
    if _config(folder).get("model_type") != "internvl":
        yield folder
        return
    with _view(folder, "*.safetensors*") as view:
        for file in folder.glob("*.safetensors"):
            _copy_eyes(file, view / file.name)
        yield view


@contextlib.contextmanager
def _view(folder: Path, without: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        view = Path(made) / folder.name  # the converter makes the model's name from the folder's
        view.mkdir()
        for path in folder.iterdir():
            if path.is_file() and not path.match(without):
                (view / path.name).symlink_to(path.resolve())
        yield view


def _copy_eyes(source: Path, target: Path) -> None:
    """The weights of the projector in a file of safetensors, as the converter wants them, if there are any."""
    with source.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        entries: dict[str, Any] = json.loads(file.read(size))
        kept = {name: entry for name, entry in entries.items() if name.startswith(_EYES)}
        if not kept:
            return
        head, at = {}, 0
        for name, entry in kept.items():
            start, end = entry["data_offsets"]
            head[f"model.{name}"] = entry | {"data_offsets": [at, at + end - start]}
            at += end - start
        text = json.dumps(head).encode()
        with target.open("wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for name, entry in kept.items():
                start, end = entry["data_offsets"]
                file.seek(8 + size + start)
                data, row = file.read(end - start), (end - start) // entry["shape"][1] if len(entry["shape"]) > 1 else 0
                # llama.cpp puts the class token behind the patches, and leaves its position before theirs.
                out.write(data[row:] + data[:row] if name.endswith(_POSITIONS) else data)


def _config(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # the converter says what is wrong with it
    return found
