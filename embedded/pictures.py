"""The pictures to learn from and to measure on, with their facts: photos from a data folder, and drawings."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from . import words
from .words import Facts

EDGE = 160  # pixels; the tower sees a 128-pixel part of it in training
_SEEDS = 1_000_000  # far from those of the demo's own pictures
DRAWN = 6  # drawings of each combination in training


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and its truth. `held_out` pictures are for measuring only."""

    source: str  # "fashion", "groceries" or "drawn"
    name: str  # of the file, or of what is drawn and its seed
    facts: Facts
    held_out: bool


def photos(data: Path) -> Iterator[tuple[Picture, Path]]:
    """The photos of the folders fashion/ and groceries/ of `data`."""
    with (data / "fashion" / "products.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            facts = words.fashion(row["articleType"], row["baseColour"], row["gender"], row["usage"], row["title"])
            picture = Picture("fashion", row["image"], facts, row["split"] != "train")
            yield picture, data / "fashion" / row["image"]
    with (data / "groceries" / "photos.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            facts = words.grocery(row["coarse_class"], row["class"])
            yield Picture("groceries", row["file"], facts, row["split"] != "train"), data / "groceries" / row["file"]


def squashed(image: Image.Image, edge: int = EDGE) -> npt.NDArray[np.uint8]:
    """[edge, edge, 3]: like the engine's overview, it keeps no aspect."""
    return np.asarray(image.convert("RGB").resize((edge, edge), Image.Resampling.BICUBIC))


def drawings() -> Iterator[tuple[Picture, Callable[[], Image.Image]]]:
    """Drawings of all combinations: several of each to learn from, one of each that is held out."""
    from msr_local.demo.drawing import draw, held_out, looks

    for look in looks():
        facts = Facts(look.object, look.colour, look.pattern)
        for number in range(1 if held_out(look) else DRAWN):
            seed = _SEEDS + number
            yield Picture("drawn", f"{look.name} #{seed}", facts, held_out(look)), partial(draw, look, seed, EDGE)


def load(data: Path, work: Path) -> tuple[list[Picture], npt.NDArray[np.uint8]]:
    """All pictures and their pixels [N, EDGE, EDGE, 3], made once in the folder `work`."""
    found = list(photos(data))
    seen = _once(work / f"photos-{EDGE}.npy", lambda: (squashed(Image.open(path)) for _, path in found))
    drawn = list(drawings())
    made = _once(work / f"drawn-{EDGE}.npy", lambda: (np.asarray(image()) for _, image in drawn))
    if (len(seen), len(made)) != (len(found), len(drawn)):
        raise SystemExit(f"{work}: other pictures than today's are kept here. Remove its *.npy and *.npz.")
    return [picture for picture, _ in [*found, *drawn]], np.concatenate([seen, made])


def _once(kept: Path, make: Callable[[], Iterable[npt.NDArray[np.uint8]]]) -> npt.NDArray[np.uint8]:
    if not kept.exists():
        part = kept.with_suffix(".part.npy")
        np.save(part, np.stack(list(make())))
        part.replace(kept)
    pixels: npt.NDArray[np.uint8] = np.load(kept)
    return pixels


def named(picture: Picture, said: str) -> dict[str, bool]:
    """Which facts of a picture its caption names; of photos, a near colour will do."""
    facts = picture.facts
    found = {"kind": words.names(said, facts.kind)}
    if facts.colour:
        exact = picture.source == "drawn"
        found["colour"] = words.names(said, facts.colour) if exact else words.names_colour(said, facts.colour)
    if facts.pattern:
        found["pattern"] = words.names(said, facts.pattern)
    if picture.source == "drawn":
        found["all three"] = all(found.values())
    return found
