"""The systems that benchmarks/speed.py times, each behind one method: answers to yes/no questions of one user.

Each runs in a process of its own (`Served`), so that peaks of memory are its own and one system's threads are
asleep while another is timed. All get the same model file, the same prompts, token by token, and as many threads.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from msr_local.engine.answers import spellings
from msr_local.engine.llama.chat import frame
from msr_local.engine.types import EngineConfig, Image, ModelFacts, Prompt, Text

SYSTEM = "You decide whether a person will choose an item next. Answer only Yes or No."
ASK = "Will this person choose the following item next? Answer Yes or No."
_TOP = 200  # log-probabilities asked for where all cannot be had


@dataclass(frozen=True)
class Job:
    """Questions about one user: the evidence, and a candidate each."""

    evidence: str
    candidates: Sequence[str]


@dataclass(frozen=True)
class Timed:
    """Seconds for all questions, log-odds in order (nan where a system did not tell), peak bytes of its process."""

    seconds: float
    z: list[float]
    peak: int


class System(Protocol):
    """Made once from a model file; not timed."""

    def answer(self, job: Job) -> list[float]: ...


def prompts(facts: ModelFacts, job: Job) -> tuple[Prompt, list[Prompt]]:
    """The prefix, and a suffix for each candidate."""
    chat = frame(facts, SYSTEM)
    return (
        [*chat.before, Text(f"{chat.blank}{job.evidence}\n\n{ASK}\n\n")],
        [[Text(one), *chat.after] for one in job.candidates],
    )


class Ours:
    """msr-local's engine."""

    def __init__(self, model: Path, threads: int) -> None:
        from msr_local.engine.llama.engine import LlamaEngine

        self.engine = LlamaEngine(EngineConfig(model, threads=threads))

    def answer(self, job: Job) -> list[float]:
        prefix, suffixes = prompts(self.engine.facts, job)
        return [answer.z for answer in self.engine.log_odds(prefix, suffixes)]


class ChatLoop:
    """llama-cpp-python's chat completions, one a candidate; it finds the common prefix by itself."""

    def __init__(self, model: Path, threads: int) -> None:
        import llama_cpp

        self.llm = llama_cpp.Llama(
            str(model), n_ctx=2048, n_threads=threads, n_threads_batch=threads, logits_all=True, verbose=False
        )

    def answer(self, job: Job) -> list[float]:
        found = []
        for candidate in job.candidates:
            asked = f"{job.evidence}\n\n{ASK}\n\n{candidate}"
            made: Any = self.llm.create_chat_completion(
                [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}],
                max_tokens=1, temperature=0.0, logprobs=True, top_logprobs=_TOP,
            )  # fmt: skip
            top = made["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            found.append(_z({one["token"]: one["logprob"] for one in top}))
        return found


class Server:
    """llama.cpp's server (xllamacpp) with its prompt cache and n_probs; one slot, one question after the other."""

    def __init__(self, model: Path, threads: int) -> None:
        import xllamacpp

        from msr_local.engine.llama.engine import LlamaEngine

        self.engine = LlamaEngine(EngineConfig(model, threads=threads))  # for token ids alone
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx, params.n_parallel, params.n_batch, params.n_ubatch = 2048, 1, 512, 512
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.verbosity = -1
        self.server = xllamacpp.Server(params)

    def answer(self, job: Job) -> list[float]:
        prefix, suffixes = prompts(self.engine.facts, job)
        found = []
        for suffix in suffixes:
            made: Any = self.server.handle_completions(
                {
                    "prompt": self.engine.token_ids([*prefix, *suffix]), "n_predict": 1, "n_probs": _TOP,
                    "cache_prompt": True, "temperature": 0.0,
                }
            )  # fmt: skip
            top = made["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            found.append(_z({one["token"]: one["logprob"] for one in top}))
        return found


class Transformers:
    """transformers, whole prompts in batches of eight, filled up on the left."""

    def __init__(self, model: Path, threads: int, dtype: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from msr_local.engine.llama.engine import LlamaEngine

        torch.set_num_threads(threads)
        self.engine = LlamaEngine(EngineConfig(model, threads=threads))  # for token ids alone
        self.words = {word: self.engine._single_tokens(word).values() for word in ("yes", "no")}
        loaded = AutoModelForCausalLM.from_pretrained(
            model.parent, gguf_file=model.name, dtype=getattr(torch, dtype)
        ).eval()
        self.torch, self.model = torch, loaded

    def answer(self, job: Job) -> list[float]:
        prefix, suffixes = prompts(self.engine.facts, job)
        rows = [self.engine.token_ids([*prefix, *suffix]) for suffix in suffixes]
        return [z for start in range(0, len(rows), 8) for z in self._batch(rows[start : start + 8])]

    def _batch(self, rows: list[list[int]]) -> list[float]:
        longest = max(map(len, rows))
        ids = self.torch.tensor([[0] * (longest - len(row)) + row for row in rows])
        mask = self.torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        with self.torch.inference_mode():
            logits = self.model(input_ids=ids, attention_mask=mask, logits_to_keep=1).logits[:, -1].double()
        yes, no = (logits[:, list(ids)].logsumexp(1) for ids in self.words.values())
        return [float(z) for z in yes - no]


class Floor:
    """What the weights cost: the seconds in which llama.cpp reads 512 tokens at once, by any standard context."""

    def __init__(self, model: Path, threads: int) -> None:
        import ctypes

        import llama_cpp as llama

        llama.llama_backend_init()
        self.quiet = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(self.quiet, ctypes.c_void_p(0))
        self.llama = llama
        loaded = llama.llama_model_load_from_file(str(model).encode(), llama.llama_model_default_params())
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = 512, 512, 512
        params.n_threads = params.n_threads_batch = threads
        self.context = llama.llama_init_from_model(loaded, params)

    def answer(self, job: Job) -> list[float]:
        llama = self.llama
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        tokens = (llama.llama_token * 512)(*range(1000, 1512))
        assert llama.llama_decode(self.context, llama.llama_batch_get_one(tokens, 512)) == 0
        return []


def _z(logprobs: dict[str, float]) -> float:
    sides = [[float(logprobs[form]) for form in spellings(word) if form in logprobs] for word in ("yes", "no")]
    if not all(sides):
        return math.nan
    yes, no = (max(side) + math.log(sum(math.exp(one - max(side)) for one in side)) for side in sides)
    return yes - no


SYSTEMS = {
    "floor": Floor,
    "ours": Ours,
    "chat loop": ChatLoop,
    "server": Server,
    "transformers float32": lambda model, threads: Transformers(model, threads, "float32"),
    "transformers bfloat16": lambda model, threads: Transformers(model, threads, "bfloat16"),
}


class Served:
    """A system in a process of its own."""

    def __init__(self, name: str, model: Path, threads: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, name, model, threads), daemon=True)
        self._process.start()
        self._pipe.recv()

    def answer(self, job: Job) -> Timed:
        """Time one user's questions."""
        self._pipe.send(job)
        timed: Timed = self._pipe.recv()
        return timed

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


def _serve(pipe: Any, name: str, model: Path, threads: int) -> None:
    system: System = SYSTEMS[name](model, threads)
    pipe.send("ready")
    while True:
        job = pipe.recv()
        start = time.perf_counter()
        z = system.answer(job)
        seconds = time.perf_counter() - start
        pipe.send(Timed(seconds, z, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def as_image(drawn: Any, sha256: str) -> Image:
    """A Pillow picture as the engine takes it."""
    return Image(drawn.width, drawn.height, drawn.convert("RGB").tobytes(), sha256)
