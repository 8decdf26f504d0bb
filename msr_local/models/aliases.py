"""Short names of models that are worth trying, and what is known of each. A light module: a table."""

from __future__ import annotations

from dataclasses import dataclass

_UNTRIED = "nothing: its files could not be had where this table was made"
_FAMILY = (
    "its architecture, as a tiny random model, answers and captions in the tests; these weights were not tried: "
    "they could not be had where this table was made"
)
_TEXT_FAMILY = _FAMILY.replace(" and captions", "")


@dataclass(frozen=True, slots=True)
class Alias:
    """A repository with GGUF files. `parameters`, `licence` and `sees` are its publishers' words, read in 2026."""

    repository: str
    parameters: float  # billions, the projector's too
    licence: str
    sees: bool
    tried: str = _UNTRIED

    @property
    def bytes(self) -> int:
        """About what its Q8_0 files take, 8.5 bits a weight."""
        return int(self.parameters * 1e9 * 8.5 / 8)


_LFM, _GEMMA = "LFM Open License 1.0", "Gemma Terms of Use"

ALIASES = {
    "smolvlm2-256m": Alias("ggml-org/SmolVLM2-256M-Video-Instruct-GGUF", 0.26, "Apache-2.0", True, _FAMILY),
    "smolvlm2-500m": Alias("ggml-org/SmolVLM2-500M-Video-Instruct-GGUF", 0.51, "Apache-2.0", True, _FAMILY),
    "smolvlm2-2.2b": Alias("ggml-org/SmolVLM2-2.2B-Instruct-GGUF", 2.25, "Apache-2.0", True, _FAMILY),
    "qwen3-vl-2b": Alias("Qwen/Qwen3-VL-2B-Instruct-GGUF", 2.13, "Apache-2.0", True, _FAMILY),
    "qwen3-vl-4b": Alias("Qwen/Qwen3-VL-4B-Instruct-GGUF", 4.44, "Apache-2.0", True, _FAMILY),
    "lfm2.5-vl-450m": Alias("LiquidAI/LFM2.5-VL-450M-GGUF", 0.45, _LFM, True, _FAMILY),
    "lfm2.5-vl-1.6b": Alias("LiquidAI/LFM2.5-VL-1.6B-GGUF", 1.6, _LFM, True, _FAMILY),
    "gemma-3-4b": Alias("ggml-org/gemma-3-4b-it-GGUF", 4.3, _GEMMA, True, _FAMILY),
    "qwen2.5-vl-3b": Alias("ggml-org/Qwen2.5-VL-3B-Instruct-GGUF", 3.75, "Qwen Research License", True, _FAMILY),
    "internvl3-1b": Alias(
        "ggml-org/InternVL3-1B-Instruct-GGUF", 0.94, "MIT, its Qwen2.5 part Apache-2.0", True, _FAMILY
    ),
    "internvl3-2b": Alias(
        "ggml-org/InternVL3-2B-Instruct-GGUF", 2.09, "MIT, its Qwen2.5 part Apache-2.0", True, _FAMILY
    ),
    "qwen3.5-2b": Alias("unsloth/Qwen3.5-2B-GGUF", 2.3, "Apache-2.0", True, _FAMILY),
    "smollm2-1.7b": Alias("HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF", 1.71, "Apache-2.0", False, _TEXT_FAMILY),
    "qwen3-1.7b": Alias("Qwen/Qwen3-1.7B-GGUF", 1.72, "Apache-2.0", False),
    "gemma-3-1b": Alias("ggml-org/gemma-3-1b-it-GGUF", 1.0, _GEMMA, False),
}
