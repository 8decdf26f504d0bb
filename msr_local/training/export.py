"""From a trained LoRA to files that the engine loads: the run-time adapter and the merged, quantised model."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..files import written_whole
from .bases import Base
from .batches import Collator, log_odds
from .convert import convert_adapter, convert_model, graft_tokenizer, quantise, tokenizer_differences
from .rows import Row

LORA, MERGED, REFERENCE = "lora", "merged", "reference.json"
ADAPTER_GGUF = "adapter.gguf"
# As the engine's child: it finds the same packages as we do, and nothing in the current folder.
_APART = (
    "import pickle, sys; sys.path[:] = sys.argv[1:]; "
    "from msr_local.training.export import merge; merge(*pickle.load(sys.stdin.buffer))"
)
# Of the base's files not for the merged model: its weights, and code, which the converter would run.
_LEFT_OUT = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.gguf", "*.py", "README.md", ".*")


def save_lora(model: Any, run: Path) -> None:
    """Keep the trained LoRA in PEFT's format: from here on, the run needs no more training."""
    with written_whole(run / LORA) as part:
        model.save_pretrained(part)


def merge(run: Path, base: Base, gate: Sequence[Row], collator: Collator) -> None:
    """Fold the LoRA into the base (`MERGED`), and keep transformers' log-odds of `gate`.

    Everything that the engine loads is compared with those. They are computed in float32 where the weights fit
    that. Raises `ModelError` where the two do not fit together.
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
            if file.is_file() and not any(file.match(pattern) for pattern in _LEFT_OUT):
                shutil.copyfile(file, part / file.name)


def merge_unpatched(run: Path, base: Base, gate: Sequence[Row], collator: Collator) -> None:
    """`merge`, in a process of its own if this one has imported Unsloth: that rewrites transformers' models for good.

    Raises `ModelError` with the last line that the process printed.
    """
    if "unsloth" not in sys.modules:
        merge(run, base, gate, collator)
        return
    path = (os.path.abspath(place) for place in sys.path if place)  # noqa: PTH100
    done = subprocess.run(
        [sys.executable, "-I", "-c", _APART, *path], input=pickle.dumps((run, base, gate, collator)),
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise ModelError(f"the adapter cannot be merged into {base.name}: {said}. Next: --resume.")


def to_gguf(run: Path, base: Base, tools: Callable[[], Path], quantisation: str, note: Callable[[str], None]) -> Path:
    """Make the run-time adapter and the merged model in `quantisation`; the path of the latter.

    What is there from before a kill is not made again. Raises `ModelError` when a tokenizer came out different.
    """
    f16, small = run / "merged.f16.gguf", run / f"merged.{quantisation}.gguf"
    if not (run / ADAPTER_GGUF).exists():
        note("Export: adapter to GGUF.")
        convert_adapter(tools(), run / LORA, base.folder, run / ADAPTER_GGUF)
    if not f16.exists():
        note("Export: merged model to GGUF.")
        raw = run / "merged.raw.gguf"
        if not raw.exists():
            convert_model(tools(), run / MERGED, raw)
        if base.name == "embedded":
            # Of a tokenizer that it read from a GGUF file, transformers writes only a part.
            graft_tokenizer(base.model, raw)
        if differing := tokenizer_differences(base.model, raw):
            raise ModelError(
                f"the merged model's tokenizer differs from the base's ({', '.join(differing)}), so it would read "
                "prompts differently from training. Next: report this with the name of the base."
            )
        raw.replace(f16)
    if not small.exists():
        note(f"Export: quantising to {quantisation}.")
        quantise(f16, small, quantisation)
    return small
