"""Measure the shipped eyes and captioner on held-out pictures, through the engine, as `msr-local ingest` does.

python -m embedded.measure --data ../shared/data                  # all held-out pictures
python -m embedded.measure --photos FOLDER                        # other photos: FOLDER/photos.csv (file,kind,colour)
python -m embedded.measure --transformers work/eyes               # the same words from transformers?
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from msr_local.catalogue.images import load_rgb
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import CAPTION, Engine, EngineConfig, Image, Writing
from msr_local.evaluation.metrics import mean_estimate
from msr_local.models import embedded
from msr_local.prompts import PromptTemplate
from msr_local.recipe.captions import LONGEST_EDGE, MAX_TOKENS

from . import words
from .pictures import Picture, drawings, named, photos
from .words import Facts

ADAPTERS = Path(__file__).parents[1] / "adapters"


def config() -> EngineConfig:
    """The embedded model with what is in `adapters/`."""
    files = {CAPTION: ADAPTERS / "captioner" / "adapter.gguf"}
    return EngineConfig(embedded.prepare(), ADAPTERS / "eyes" / "mmproj.gguf", adapters=files)


def held_out(data: Path | None) -> Iterator[tuple[Picture, Image]]:
    """All held-out pictures as the engine gets them."""
    for picture, path in photos(data) if data else ():
        if picture.held_out:
            yield picture, from_file(path)
    for picture, draw in drawings():
        if picture.held_out:
            yield picture, from_pillow(draw())


def others(folder: Path) -> Iterator[tuple[Picture, Image]]:
    """The photos that `folder`/photos.csv names, with columns file, kind and colour ('' where unknown)."""
    with (folder / "photos.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            facts = Facts(words.article_name(row["kind"]), row.get("colour", "").lower())
            yield Picture("photos", row["file"], facts, True), from_file(folder / row["file"])


def from_file(path: Path) -> Image:
    """A picture as `msr-local ingest` reads it."""
    return load_rgb(path, LONGEST_EDGE)


def from_pillow(picture: Pillow.Image) -> Image:
    """A picture that is in no file."""
    return Image(picture.width, picture.height, picture.tobytes(), str(hash(picture.tobytes())))


def captions(engine: Engine, pictures: list[Image]) -> list[str]:
    """What the engine writes of each picture, many at a time."""
    template = PromptTemplate("item_caption")
    said = [""] * len(pictures)
    questions = [template.question({}, picture) for picture in pictures]
    for place, made in engine.write(questions, Writing(CAPTION, MAX_TOKENS)):
        said[place] = " ".join(made.text.split())
    return said


def report(found: list[tuple[Picture, str]], seconds: float) -> dict[str, Any]:
    """Shares with intervals by source and kind of fact, and the commonest confusions."""
    shares: dict[str, list[bool]] = {}
    confusions: Counter[tuple[str, str, str]] = Counter()
    kinds = sorted({picture.facts.kind for picture, _ in found}, key=len, reverse=True)
    for picture, said in found:
        for key, value in named(picture, said).items():
            shares.setdefault(f"{picture.source}: {key}", []).append(value)
        if not words.names(said, picture.facts.kind):
            other = next((kind for kind in kinds if words.names(said, kind)), "(none)")
            confusions[picture.source, picture.facts.kind, other] += 1
    document: dict[str, Any] = {"pictures": len(found), "seconds": round(seconds, 1)}
    document["shares"] = {
        key: {**mean_estimate(np.array(values, float)).to_json(), "pictures": len(values)}
        for key, values in shares.items()
    }
    document["confusions"] = [[*key, count] for key, count in confusions.most_common(25)]
    return document


def as_transformers(work: Path, found: list[tuple[Picture, Image]], count: int = 100) -> float:
    """Share of captions that transformers writes word for word the same, greedily and in float32."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    from msr_local.training.batches import pixels_of

    from .assemble import folder
    from .captioner import prompt_ids

    place = folder(work, tuned=True)
    model: Any = AutoModelForImageTextToText.from_pretrained(place, dtype=torch.float32).eval()
    tokenizer, pixels = AutoTokenizer.from_pretrained(place), pixels_of(place)
    assert pixels is not None
    chosen = [found[n] for n in np.random.default_rng(0).permutation(len(found))[:count]]
    with EngineProcess(config()) as engine:
        ours = captions(engine, [image for _, image in chosen])
    prefix, rest = prompt_ids()
    ids = torch.tensor([[one if one >= 0 else model.config.image_token_id for one in (*prefix, *rest)]])
    same = 0
    for (_, image), said in zip(chosen, ours, strict=True):
        shown = torch.from_numpy(pixels(image))[None]
        with torch.no_grad():
            made = model.generate(
                input_ids=ids, pixel_values=shown, attention_mask=torch.ones_like(ids), do_sample=False,
                max_new_tokens=MAX_TOKENS,
            )  # fmt: skip
        theirs = " ".join(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).split())
        same += theirs == said
    return same / len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder with fashion/ and groceries/")
    parser.add_argument("--photos", type=Path, help="a folder with other photos and photos.csv")
    parser.add_argument("--transformers", type=Path, metavar="WORK", help="compare with transformers instead")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="write all captions as JSON lines")
    arguments = parser.parse_args()
    found = list(others(arguments.photos) if arguments.photos else held_out(arguments.data))
    if arguments.transformers:
        print(json.dumps({"identical": as_transformers(arguments.transformers, found)}))
        return
    with EngineProcess(config()) as engine:
        captions(engine, [found[0][1]])  # warm
        began = time.monotonic()
        said = captions(engine, [image for _, image in found])
        seconds = time.monotonic() - began
    pairs = [(picture, text) for (picture, _), text in zip(found, said, strict=True)]
    if arguments.captions:
        with arguments.captions.open("w", encoding="utf-8") as file:
            for picture, text in pairs:
                file.write(json.dumps([picture.source, picture.name, words.caption(picture.facts), text]) + "\n")
    print(json.dumps(report(pairs, seconds), indent=1))


if __name__ == "__main__":
    main()
