"""Put eyes and language model together: a SmolVLM folder that transformers, Unsloth and the converter all know.

python -m embedded.assemble --work work/eyes
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from msr_local.training.convert import convert_model, converter

from .language import language_folder
from .tower import PATCH, SHUFFLE, vision_config
from .views import TILE

NAME = "SmolLM2-135M-eyes"  # the converter calls the model after its folder
_COPIED = ("tokenizer*", "special_tokens_map.json", "chat_template*", "generation_config.json")


def folder(work: Path, *, tuned: bool = False) -> Path:
    """Write the Hugging Face folder of the whole model; `tuned` has the captioner's LoRA merged into it."""
    from safetensors.torch import save_file

    target = work / ("tuned" if tuned else "plain") / NAME
    target.mkdir(parents=True, exist_ok=True)
    eyes = torch.load(work / "captioner.pt", weights_only=True)["eyes"]
    weights = {f"model.text_model.{name.removeprefix('model.')}": value for name, value in _language(work, tuned)}
    for name, value in eyes.items():
        if name.startswith("tower."):
            weights[f"model.vision_model.{name.removeprefix('tower.')}"] = value
    weights["model.connector.modality_projection.proj.weight"] = eyes["connector.weight"]
    save_file({name: value.float().contiguous() for name, value in weights.items()}, target / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    (target / "config.json").write_text(json.dumps(_config(), indent=2), encoding="utf-8")
    pictures = {
        "image_processor_type": "Idefics3ImageProcessor", "processor_class": "Idefics3Processor",
        "size": {"longest_edge": TILE}, "max_image_size": {"longest_edge": TILE}, "do_image_splitting": False,
        "do_convert_rgb": True, "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "do_pad": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 1,
    }  # fmt: skip
    (target / "preprocessor_config.json").write_text(json.dumps(pictures, indent=2), encoding="utf-8")
    for pattern in _COPIED:
        for file in language_folder().glob(pattern):
            shutil.copyfile(file, target / file.name)
    return target


def _language(work: Path, tuned: bool) -> list[tuple[str, torch.Tensor]]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(language_folder(), dtype=torch.float32)
    if tuned:
        model = PeftModel.from_pretrained(model, work / "captioner-lora").merge_and_unload()
    return [(name, value) for name, value in model.state_dict().items() if name != "lm_head.weight"]


def _config() -> dict[str, Any]:
    text = json.loads((language_folder() / "config.json").read_text(encoding="utf-8"))
    text |= {"model_type": "llama", "architectures": ["VLlama3ForCausalLM"]}  # as the published SmolVLMs have it
    tokens = json.loads((language_folder() / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    (image,) = (token["id"] for token in tokens if token["content"] == "<image>")
    return {
        "architectures": ["Idefics3ForConditionalGeneration"], "model_type": "idefics3", "image_token_id": image,
        "scale_factor": SHUFFLE, "tie_word_embeddings": True, "pad_token_id": text["pad_token_id"],
        "text_config": text, "vision_config": {**vision_config(), "size": {"longest_edge": TILE}}, "dtype": "float32",
        "use_cache": True,
    }  # fmt: skip


def projector(work: Path, target: Path) -> None:
    """Write the eyes as the projector that llama.cpp loads (mmproj, F16)."""
    convert_model(converter(), folder(work), target, projector=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/eyes"))
    work = parser.parse_args().work
    projector(work, work / "mmproj.gguf")
    print(f"{work / 'mmproj.gguf'}: {(work / 'mmproj.gguf').stat().st_size:,} bytes, patches of {PATCH}")


if __name__ == "__main__":
    main()
