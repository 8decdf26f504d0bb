"""Pictures as a model's tower gets them in training: as llama.cpp gives them to it, with transformers' names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from ..arrays import Floats, Mask
from ..engine.families import FAMILIES, Preparation, family_of, preparation
from ..engine.llama.gguf import Head
from ..engine.types import IMAGE_TOKENS, Image
from ..errors import ModelError
from .backends import config_of

_NO_LORA = {"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"}
Inputs = dict[str, npt.NDArray[Any]]


class Pictures(Protocol):
    """How a family's pictures go into a batch. `shares`: questions about one moment may share their beginning."""

    shares: ClassVar[bool]

    def inputs(self, shown: Sequence[Sequence[Image]], cells: Mask) -> Inputs:
        """The model's inputs for the pictures of each line; `cells` [lines, tokens] says where their vectors go."""
        ...


@dataclass(frozen=True, slots=True)
class Pixels:
    """How a SmolVLM (Idefics3) turns a picture into its one overview: sizes in pixels, statistics per channel."""

    shares: ClassVar[bool] = True

    tile: int
    longest_edge: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image) -> Floats:
        """The tower's input, shape [1, 3, tile, tile].

        The three resizes with 8-bit rounding between are those of llama.cpp's mtmd, whose filter is Pillow's. Width
        goes first, as there: Pillow 13 begins with the height where that is less work, and rounds otherwise.
        """
        picture = Pillow.frombytes("RGB", (image.width, image.height), image.pixels)
        aspect = image.width / image.height
        if image.width >= image.height:
            height = int(self.longest_edge / aspect)
            size = (self.longest_edge, height + height % 2)
        else:
            width = int(self.longest_edge * aspect)
            size = (width + width % 2, self.longest_edge)
        whole = tuple(-(-edge // self.tile) * self.tile for edge in size)
        for width, height in (size, whole, (self.tile, self.tile)):
            for target in ((max(1, width), picture.height), (max(1, width), max(1, height))):
                if picture.size != target:
                    picture = picture.resize(target, Pillow.Resampling.LANCZOS)
        values: npt.NDArray[Any] = np.asarray(picture, np.float32) / 255.0
        values = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))[None]

    def inputs(self, shown: Sequence[Sequence[Image]], cells: Mask) -> Inputs:
        """As `Pictures`: [lines, most pictures in a line, 3, tile, tile]; Idefics3 drops the zeros that fill it up."""
        most = max(map(len, shown))
        filled = np.zeros((len(shown), most, 3, self.tile, self.tile), np.float32)
        for number, pictures in enumerate(shown):
            for place, picture in enumerate(pictures):
                filled[number, place] = self(picture)
        return {"pixel_values": filled}


@dataclass(frozen=True, slots=True)
class Patches:
    """The pictures of the other families, scaled as the engine scales them; `patch` in pixels."""

    shares: ClassVar[bool] = False

    prepare: Preparation
    patch: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image) -> Floats:
        """The values of a picture, shape [height, width, 3]."""
        picture = self.prepare(image)
        values = np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)
        whole = (values.astype(np.float32) / 255 - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return whole.astype(np.float32)

    def inputs(self, shown: Sequence[Sequence[Image]], cells: Mask) -> Inputs:
        """As `Pictures`, with the names that each family's model has for its inputs."""
        pictures = [self(picture) for line in shown for picture in line]
        kind = self.prepare.family.projector
        if kind == "lfm2":
            return self._strips(pictures)
        if "qwen" in kind:
            return self._grids(pictures) | {"mm_token_type_ids": cells.astype(np.int64)}
        squares: Inputs = {"pixel_values": np.stack([one.transpose(2, 0, 1) for one in pictures])}
        return squares | ({"token_type_ids": cells.astype(np.int64)} if kind == "gemma3" else {})

    def _grids(self, pictures: Sequence[Floats]) -> Inputs:
        """Qwen's: patches [N, 3 x 2 x patch x patch], those of a cell together, each frame twice as in a video."""
        packed, sizes = [], []
        merge, patch = self.prepare.cell // self.patch, self.patch
        for values in pictures:
            down, across = values.shape[0] // patch, values.shape[1] // patch
            cut = values.reshape(down // merge, merge, patch, across // merge, merge, patch, 3)
            patches = cut.transpose(0, 3, 1, 4, 6, 2, 5).reshape(down * across, 3, 1, patch, patch)
            packed.append(np.repeat(patches, 2, axis=2).reshape(down * across, -1))
            sizes.append((1, down, across))
        return {"pixel_values": np.concatenate(packed), "image_grid_thw": np.array(sizes)}

    def _strips(self, pictures: Sequence[Floats]) -> Inputs:
        """LFM2's: [pictures, most patches, patch x patch x 3], filled up with zeros."""
        patch = self.patch
        sizes = [(one.shape[0] // patch, one.shape[1] // patch) for one in pictures]
        most = max(down * across for down, across in sizes)
        filled = np.zeros((len(pictures), most, 3 * patch * patch), np.float32)
        there = np.zeros((len(pictures), most), np.int64)
        for number, (values, (down, across)) in enumerate(zip(pictures, sizes, strict=True)):
            cut = values.reshape(down, patch, across, patch, 3).transpose(0, 2, 1, 3, 4)
            filled[number, : down * across] = cut.reshape(down * across, -1)
            there[number, : down * across] = 1
        return {"pixel_values": filled, "pixel_attention_mask": there, "spatial_shapes": np.array(sizes)}


def require_trainable(folder: Path) -> None:
    """Raise `ModelError` for a vision model whose pictures are not known to be the engine's, and for Mamba's kind."""
    config = config_of(folder)
    if (kind := config.get("model_type")) in _NO_LORA:
        raise ModelError(
            f"{folder}: training is not supported for {kind} models: PEFT puts no LoRA on their state space layers. "
            "Next: another base. The engine runs this one as it is."
        )
    if "vision_config" in config and not family_of(config.get("model_type")):
        known = "; ".join(one.name for one in FAMILIES)
        raise ModelError(
            f"{folder}: training is not supported for {config.get('model_type')} models yet: how the engine prepares "
            f"their pictures was not shown to be right. Next: a model of {known}, or a text model."
        )


def pixels_of(folder: Path, projector: Path | None = None) -> Pictures | None:
    """How pictures go into the model of `folder`, whose `projector` the engine loads; None for a text model.

    Raises `ModelError` for a vision model of a family that is not known, and for settings that cannot be used.
    """
    config = config_of(folder)
    if "vision_config" not in config:
        return None
    require_trainable(folder)
    family = family_of(config.get("model_type"))
    try:
        said = _picture_settings(folder)
        if family and family.shape == "own":
            return Pixels(
                tile=int(config["vision_config"]["image_size"]),
                longest_edge=int(said["size"]["longest_edge"]),
                mean=tuple(said["image_mean"]),
                std=tuple(said["image_std"]),
            )
        assert projector is not None
        head = Head.read(projector)
        prepare = preparation(head.value, IMAGE_TOKENS)
        assert prepare is not None
        return Patches(
            prepare, int(head.value("clip.vision.patch_size")), tuple(said["image_mean"]), tuple(said["image_std"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: unusable preprocessor_config.json ({error!r}). Next: another --base.") from error


def _picture_settings(folder: Path) -> dict[str, Any]:
    """As llama.cpp's converter reads them; transformers 5 writes the second file alone."""
    said: dict[str, Any] = {}
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).exists():
            document = json.loads((folder / name).read_text(encoding="utf-8"))
            said |= document | document.get("image_processor", {})
    return said
