"""From a trained LoRA to files that the engine loads: the run-time adapter and the merged, quantised model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .bases import Base
from .batches import Collator, log_odds
from .convert import convert_adapter, convert_model, graft_tokenizer, quantise, tokenizer_differences, written_whole
from .rows import Row

LORA, MERGED, REFERENCE = "lora", "merged", "reference.json"
ADAPTER_GGUF = "adapter.gguf"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.gguf", "README.md", ".*")


def save_lora(model: Any, run: Path) -> None:
    """Keep the trained LoRA in PEFT's format: from here on, the run needs no more training."""
    with written_whole(run / LORA) as part:
        model.save_pretrained(part)


def merge(run: Path, base: Base, gate: Sequence[Row], collator: Collator) -> None:
    """Fold the LoRA into the base (`MERGED`), and keep the log-odds of `gate` as transformers sees them.

    Those are the truth that everything the engine loads is held against. They are computed in float32 where the
    weights fit that. Raises `ModelError` where the two do not fit together.
    """
    from peft import PeftModel

    from .backends import load_plain

    model = PeftModel.from_pretrained(load_plain(base.folder), run / LORA)
    z = log_odds(model, gate, collator)
    with written_whole(run / REFERENCE) as part:
        part.write_text(json.dumps(z.tolist()), encoding="utf-8")
    whole = model.merge_and_unload()
    with written_whole(run / MERGED) as part:
        whole.save_pretrained(part)
        for file in base.folder.iterdir():
            # Tokenizer, chat template and picture settings are the base's; so is the configuration of the weights.
            if file.is_file() and not any(file.match(pattern) for pattern in _WEIGHTS):
                shutil.copyfile(file, part / file.name)


def to_gguf(run: Path, base: Base, tools: Callable[[], Path], quantisation: str, say: Callable[[str], None]) -> Path:
    """Make the run-time adapter and the merged model in `quantisation`; the path of the latter.

    What is there from before a kill is not made again. Raises `ModelError` when a tokenizer came out different.
    """
    f16, small = run / "merged.f16.gguf", run / f"merged.{quantisation}.gguf"
    if not (run / ADAPTER_GGUF).exists():
        say("adapter to GGUF")
        convert_adapter(tools(), run / LORA, base.folder, run / ADAPTER_GGUF)
    if not f16.exists():
        say("merged model to GGUF")
        raw = run / "merged.raw.gguf"
        if not raw.exists():
            convert_model(tools(), run / MERGED, raw)
        if base.name == "embedded":
            # What transformers can say of a tokenizer that came out of a GGUF file is not all that was in it.
            graft_tokenizer(base.model, raw)
        if differing := tokenizer_differences(base.model, raw):
            raise ModelError(
                f"the merged model's tokenizer is not the base's ({', '.join(differing)}), so it would read other "
                "prompts than it was trained on. Next: report this, with the name of the base."
            )
        raw.replace(f16)
    if not small.exists():
        say(f"quantising to {quantisation}")
        quantise(f16, small, quantisation)
    return small
