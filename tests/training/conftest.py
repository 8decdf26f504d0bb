"""Fixtures: llama.cpp's real converter, the embedded base, and tiny random models in Hugging Face's layout.

Nothing here imports torch or transformers before a test asks for it: tests that need them begin with
`pytest.importorskip("transformers")`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import goods
import pytest
import tiny_models
from once import once
from question_shop import WORLD, World, titled
from samples import Ran
from warm import TRAINING, Warm

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig
from msr_local.errors import ModelError
from msr_local.store.workspace import Workspace
from msr_local.training import bases, convert
from msr_local.training.bases import Base, resolve
from msr_local.training.convert import convert_model, converter

PIECES = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion/__init__.py", "gguf-py/gguf/__init__.py")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes with one thread: sums are added up in one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _at_once() -> Iterator[Callable[[], Warm]]:
    """Conversions are run by the process that has imported everything (but for those of test_convert.py)."""
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        @cache
        def started() -> Warm:
            return stack.enter_context(Warm(*TRAINING))

        patch.setattr(convert, "_execute", lambda command, environment: started().execute(command, environment))
        yield started


@pytest.fixture(scope="session")
def warm(_at_once: Callable[[], Warm]) -> Warm:
    """Commands that need not import torch and transformers any more."""
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    return _at_once()


@pytest.fixture(scope="session")
def tools() -> Path:
    """llama.cpp's converter, in the user's cache as in everyday use."""
    try:
        return converter()
    except ModelError as error:
        pytest.skip(f"the converter cannot be fetched: {error}")


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[str], Path]:
    """A converter's folder in which every script is the given one."""

    def make(script: str) -> Path:
        for name in PIECES:
            path = tmp_path / "stand-in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script)
        return tmp_path / "stand-in"

    return make


@pytest.fixture(scope="session")
def embedded_base() -> Base:
    """The embedded base; its folder is made once in the user's cache, as in everyday use."""
    pytest.importorskip("transformers")

    def no_tools() -> Path:
        raise AssertionError("the embedded base needs no converter")

    return resolve(None, no_tools)


@pytest.fixture(scope="session")
def tiny_llama(embedded_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with SmolLM2's tokenizer."""

    def make(folder: Path) -> None:
        tiny_models.llama(folder, embedded_base.folder)
        (folder / "README.md").write_text('---\ntags: [tiny]\nlicense: "mit"\n---\nlicense: none of these\n')

    return once(tmp_path_factory, "tiny-llama", make)


@pytest.fixture(scope="session")
def tiny_vlm(embedded_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SmolVLM (Idefics3) around the same Llama; three reserved tokens are renamed for the images."""

    def make(folder: Path) -> None:
        import torch
        from transformers import Idefics3Config, Idefics3ForConditionalGeneration

        vision = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
        }
        torch.manual_seed(0)
        config = Idefics3Config(
            # Architectures as real ones name them.
            text_config={"model_type": "llama", "architectures": ["VLlama3ForCausalLM"], **tiny_models.LLAMA},
            vision_config=vision,
            scale_factor=2,
            image_token_id=15,
            tie_word_embeddings=True,
            pad_token_id=2,
        )
        Idefics3ForConditionalGeneration(config).save_pretrained(folder)
        for name in tiny_models.TOKENIZER:
            shutil.copyfile(embedded_base.folder / name, folder / name)
        size = {"longest_edge": 64}
        processor = {
            "image_processor_type": "Idefics3ImageProcessor",
            "do_image_splitting": False,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "size": size,
            "max_image_size": size,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))

    return once(tmp_path_factory, "tiny-vlm", make)


@pytest.fixture(scope="session")
def llama_base(tools: Path, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """`tiny_llama` as training and the engine load it."""
    return _resolved(tiny_llama, tools, tmp_path_factory)


@pytest.fixture(scope="session")
def vlm_base(tools: Path, tiny_vlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """`tiny_vlm` as training and the engine load it."""
    return _resolved(tiny_vlm, tools, tmp_path_factory)


@pytest.fixture(scope="session")
def louder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Copies a tiny model with larger weights: as it is, its answers hardly depend on the question."""

    def make(folder: Path) -> Path:
        return tiny_models.louder(folder, tmp_path_factory.mktemp("loud") / folder.name)

    return make


@pytest.fixture
def gallery(tmp_path: Path) -> tuple[Path, Path]:
    """Items with pictures of many shapes, and users who took some of them: (items.csv, interactions.csv)."""
    import numpy as np
    from PIL import Image as Pillow

    folder = tmp_path / "gallery"
    (folder / "img").mkdir(parents=True)
    rng = np.random.default_rng(0)
    items, steps = ["item_id,title,image"], ["user_id,item_id,timestamp"]
    for i in range(24):
        shape = (20 + 7 * (i % 9), 30 + 11 * (i % 7), 3)
        Pillow.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"img/{i}.png")
        items.append(f"i{i},Picture {i},img/{i}.png")
    for u in range(16):
        taken = rng.permutation(24)[:8]
        steps += [f"u{u},i{i},{1_000_000_000 + 100_000 * n + 100 * u}" for n, i in enumerate(taken)]
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    (folder / "interactions.csv").write_text("\n".join(steps) + "\n")
    return folder / "items.csv", folder / "interactions.csv"


def _resolved(folder: Path, tools: Path, factory: pytest.TempPathFactory) -> Base:
    def resolved(cache: Path) -> Base:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bases, "cache_folder", lambda: cache)  # not the user's
            return resolve(str(folder), lambda: tools)

    return resolved(once(factory, f"base-{folder.name}", resolved))


@pytest.fixture(scope="session")
def converted(tools, tiny_llama, tmp_path_factory):
    made = once(tmp_path_factory, "converted", lambda folder: convert_model(tools, tiny_llama, folder / "model.gguf"))
    return made / "model.gguf"


# ---- a recommender that was trained


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """People who only ever take good things: (items.csv, log.csv)."""
    folder = once(tmp_path_factory, "goods", goods.write)
    return folder / "items.csv", folder / "log.csv"


@pytest.fixture(scope="session")
def base(tiny_llama: Path, louder: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers whose answers depend on the question."""
    name = "llama"
    folder = once(tmp_path_factory, "loud", lambda folder: shutil.copytree(louder(tiny_llama), folder / name))
    return folder / name


@pytest.fixture(scope="session")
def trained_home(
    warm: Warm, base: Path, log: tuple[Path, Path], tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A workspace in which `first` was trained and answers, with the document of that in first.json; to be copied."""

    def make(home: Path) -> None:
        assert warm.run("ingest", *log, home=home).code == 0
        ran = warm.run(*goods.options(base), "--name", "first", "--activate", "--json", home=home)
        assert ran.code == 0, ran.err
        (home / "first.json").write_text(ran.out)

    return once(tmp_path_factory, "trained", make)


@pytest.fixture(scope="session")
def tuned(
    trained_home: Path, warm: Warm, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Callable[..., Ran]]:
    """This worker's copy of that workspace, the document, and what runs a command there."""
    home = shutil.copytree(trained_home, tmp_path_factory.mktemp("tuned") / "home")

    def call(*arguments: object) -> Ran:
        return warm.run(*arguments, home=home)

    return home, json.loads((home / "first.json").read_text()), call


# ---- a world to ask about


@pytest.fixture(scope="module")
def running(tiny: EngineConfig) -> Iterator[EngineProcess]:
    with EngineProcess(tiny) as engine:
        yield engine


@pytest.fixture
def empty(workspace: Workspace, running: EngineProcess, tiny: EngineConfig) -> World:
    """A world in which nothing is there and nobody did anything."""
    return World(workspace, running, tiny)


@pytest.fixture
def world(empty: World) -> World:
    empty.stock(titled())
    empty.take(WORLD)
    return empty


@pytest.fixture
def elsewhere(tmp_path: Path, running: EngineProcess, tiny: EngineConfig) -> Iterator[World]:
    """The same world in another workspace."""
    with Workspace(tmp_path / "elsewhere") as workspace:
        other = World(workspace, running, tiny)
        other.stock(titled())
        other.take(WORLD)
        yield other
