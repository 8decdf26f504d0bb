"""What is asked of each family: the same in any company, as transformers, and with its processor's pictures."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_families
from PIL import Image as Pillow

from msr_local.engine.answers import spellings
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.types import CAPTION, IMAGE_CELL, EngineConfig, Image, Rendered, Text, Writing
from msr_local.prompts import PromptTemplate
from msr_local.training.bases import Base

torch = pytest.importorskip("torch")

SEEING = [name for name in tiny_families.FAMILIES if name != "llava"]
SIZES = [(160, 160), (128, 192), (1000, 180), (800, 600)]
PROCESSORS = {
    "smolvlm2": ("smolvlm", "SmolVLMImageProcessorPil"), "qwen3vl": ("qwen2_vl", "Qwen2VLImageProcessorPil"),
    "qwen25vl": ("qwen2_vl", "Qwen2VLImageProcessorPil"), "qwen35": ("qwen2_vl", "Qwen2VLImageProcessorPil"),
    "gemma3": ("gemma3", "Gemma3ImageProcessorPil"), "internvl3": ("got_ocr2", "GotOcr2ImageProcessorPil"),
}  # fmt: skip
TITLES = [
    "Red shoes",
    "A warm jacket of wool, in blue, with many pockets",
    "Tea",
    "A film about old trains",
    "Bag, red",
]


def painted(width: int, height: int, seed: int = 0) -> Image:
    """A picture with shapes, edges and noise."""
    dice = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(x / (9 + 3 * c) + y / (7 + c) + seed) for c in range(3)]
    rgb = np.stack(waves, -1) + dice.normal(0, 12, (height, width, 3))
    rgb[height // 4 : height // 2, width // 4 : width // 2] = dice.integers(0, 255, 3)
    pixels = rgb.clip(0, 255).astype(np.uint8).tobytes()
    return Image(width, height, pixels, f"{seed:032x}{width:016x}{height:016x}")


def asked(number: int, image: Image | None) -> Any:
    values = {
        "summary": "Likes red shoes, and jackets for 2 winters.", "history": ["A blue hat", "Tea, 100 g"],
        "candidate": TITLES[number % len(TITLES)], "hint": "Often chosen with a hat." if number % 3 else "",
    }  # fmt: skip
    return PromptTemplate("score").question(values, image)


@pytest.fixture(scope="module")
def engine(config: Callable[..., EngineConfig]) -> Iterator[Callable[..., LlamaEngine]]:
    """The engine of a family, in this process, one at a time."""
    opened: dict[Any, LlamaEngine] = {}

    def start(name: str, **options: Any) -> LlamaEngine:
        key = (name, *sorted(options.items()))
        if key not in opened:
            for old in opened.values():
                old.close()
            opened.clear()
            opened[key] = LlamaEngine(config(name, **options))
        return opened[key]

    yield start
    for old in opened.values():
        old.close()


@pytest.fixture(params=tiny_families.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pictures(name: str) -> list[Image | None]:
    """Of several sizes; none where the family is here for its texts."""
    sizes = [(160, 160), (90, 60), (64, 200), (160, 160), (300, 290)]
    return [painted(*size, seed) if name in SEEING else None for seed, size in enumerate(sizes)]


# ---- company


def test_captions_are_the_same_in_any_company(engine: Callable[..., LlamaEngine], family: str) -> None:
    model, shown = engine(family), pictures(family)
    if family in SEEING:
        questions = [PromptTemplate("item_caption").question({}, picture) for picture in shown]
    else:
        questions = [asked(number, None) for number in range(len(shown))]
    how = Writing(CAPTION, max_tokens=8, repeat_penalty=1.1)
    together = dict(model.write(questions, how))
    reversed_ = dict(model.write(questions[::-1], how))
    for number, question in enumerate(questions):
        assert together[number] == reversed_[len(questions) - 1 - number] == next(model.write([question], how))[1]
    assert len({made.text for made in together.values()}) > 1


@pytest.mark.parametrize("quantised", [False, True], ids=["f16", "q4_k_m"])
def test_neighbours_do_not_move_an_answer(engine: Callable[..., LlamaEngine], family: str, quantised: bool) -> None:
    model = engine(family, quantised=quantised)
    questions = [asked(number, picture) for number, picture in enumerate([*pictures(family), None, None])]
    together = [answer.z for answer in model.answers(questions)]
    turned = [answer.z for answer in model.answers(questions[::-1])][::-1]
    alone = [next(model.answers([question])).z for question in questions]
    most = 0 if quantised else 0.02
    assert np.abs(np.subtract(together, turned)).max() <= most
    assert np.abs(np.subtract(together, alone)).max() <= most
    assert np.std(together) > 0.05


# ---- against transformers


def written(name: str, mark: str, cells: int) -> str:
    """A picture of so many cells as the processor writes it."""
    return {
        "smolvlm2": "<fake_token_around_image><global-img>{}<fake_token_around_image>",
        "gemma3": "<start_of_image>{}<end_of_image>",  # the line ends around it are in the text
        "internvl3": "<img>{}</img>",
        "lfm2vl": "<|image_start|>{}<|image_end|>",
    }.get(name, "<|vision_start|>{}<|vision_end|>").format(mark * cells)


def image_token(model: Any) -> int:
    return int(getattr(model.config, "image_token_id", None) or model.config.image_token_index)


def whole(asked: Rendered) -> Iterator[Text | Image]:
    """The parts of a question without the seam after its shared part, where the engine begins a new token."""
    last, first = asked.prefix[-1], asked.suffix[0]
    if isinstance(last, Text) and isinstance(first, Text) and last.special == first.special:
        yield from (*asked.prefix[:-1], Text(last.text + first.text, special=last.special), *asked.suffix[1:])
    else:
        yield from (*asked.prefix, *asked.suffix)


@pytest.mark.parametrize("number", range(4))
def test_ids_are_those_of_transformers(
    engine: Callable[..., LlamaEngine], theirs: Callable[[str], tuple[Any, Any]], family: str, number: int
) -> None:
    ours, (model, tokenizer) = engine(family), theirs(family)
    made = ours.rendered(asked(number, pictures(family)[number]))
    parts = list(whole(made))
    ids = ours.token_ids(parts)
    text = "".join(part.text if isinstance(part, Text) else "\ue000" for part in parts)
    if family in SEEING:
        mark = image_token(model)
        ids = [mark if one == IMAGE_CELL else one for one in ids]
        text = text.replace("\ue000", written(family, tokenizer.convert_ids_to_tokens(mark), ids.count(mark)))
    bos = ours.facts.bos if text.startswith(ours.facts.bos) and family == "llava" else ""  # transformers adds it later
    assert ids == [*ids[: bool(bos)], *tokenizer(text.removeprefix(bos), add_special_tokens=False).input_ids]


def test_all_spellings_of_yes_and_no(
    engine: Callable[..., LlamaEngine], theirs: Callable[[str], tuple[Any, Any]], family: str
) -> None:
    facts, (_, tokenizer) = engine(family).facts, theirs(family)
    for word, found in (("yes", facts.yes), ("no", facts.no)):
        known = [one for one in spellings(word) if one.replace(" ", "▁" if family in ("llava", "gemma3") else "Ġ")
                 in tokenizer.get_vocab()]  # fmt: skip
        assert list(found) == known and len(known) >= 3


def processor(folder: Path, name: str, budget: int) -> Any:
    """transformers' own, with the budget of the engine."""
    module, kind = PROCESSORS[name]
    said = json.loads((folder / "preprocessor_config.json").read_text())
    said.pop("image_processor_type")
    if "qwen" in name:
        cell = said["patch_size"] * said["merge_size"]
        least = said.pop("min_pixels", None) or said["size"]["shortest_edge"]
        said.pop("max_pixels", None)
        said["size"] = {"shortest_edge": least, "longest_edge": budget * cell**2}
    made = getattr(importlib.import_module(f"transformers.models.{module}.image_processing_pil_{module}"), kind)
    return made(**said)


def tower(model: Any, name: str, inputs: Any) -> Any:
    """transformers' vectors of a picture, shape [cells, D]."""
    with torch.no_grad():
        if "qwen" in name:
            found = model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
        elif name == "lfm2vl":
            found = model.model.get_image_features(**inputs)
        else:
            found = model.model.get_image_features(inputs["pixel_values"])
    vectors = found.pooler_output
    joined = torch.cat(list(vectors)) if isinstance(vectors, (list, tuple)) else vectors
    return joined.reshape(-1, joined.shape[-1]).numpy()


def lfm2_inputs(picture: Any) -> Any:
    """As Lfm2VlImageProcessor, which needs torchvision: scaled to whole cells of 32 pixels, cut into patches of 16."""
    cells = picture.width * picture.height / 32**2
    across, down = round(picture.width / 32), round(picture.height / 32)
    if across * down < 64:
        across, down = (int(np.ceil(one * np.sqrt(64 / cells) / 32)) for one in picture.size)
    elif across * down > 256:
        across, down = (int(one / np.sqrt(cells / 256) / 32) for one in picture.size)
    scaled = picture.resize((across * 32, down * 32), Pillow.Resampling.BILINEAR)
    values = torch.from_numpy(np.asarray(scaled, np.float32) / 127.5 - 1)
    patches = values.reshape(down * 2, 16, across * 2, 16, 3).permute(0, 2, 1, 3, 4).reshape(1, down * across * 4, -1)
    return {
        "pixel_values": patches, "spatial_shapes": torch.tensor([[down * 2, across * 2]]),
        "pixel_attention_mask": torch.ones(1, down * across * 4, dtype=torch.long),
    }  # fmt: skip


@pytest.mark.parametrize("budget", [256, 1024])
@pytest.mark.parametrize("name", SEEING)
def test_pictures_are_those_of_the_processor(
    engine: Callable[..., LlamaEngine], theirs: Callable[[str], tuple[Any, Any]], made: Callable[[str], Base],
    name: str, budget: int,
) -> None:  # fmt: skip
    if budget != 256 and "qwen" not in name:
        pytest.skip("its pictures do not depend on the budget")
    ours, (model, _) = engine(name, image_tokens=budget), theirs(name)
    for size in SIZES:
        image = painted(*size)
        picture = Pillow.frombytes("RGB", size, image.pixels)
        inputs = lfm2_inputs(picture) if name == "lfm2vl" else (
            processor(made(name).folder, name, budget)(images=[picture], return_tensors="pt"))  # fmt: skip
        wanted = tower(model, name, inputs)
        (part,) = [unit for unit in ours._embed(image) if not isinstance(unit, int)]
        found = part.vectors.reshape(len(wanted), -1)[:, : wanted.shape[1]]
        assert len(wanted) <= budget
        most = 0.006 if name == "smolvlm2" else 0.002  # of the three resizes in SmolVLM's, each rounds to 8 bits
        assert np.linalg.norm(found - wanted) < most * np.linalg.norm(wanted), size
