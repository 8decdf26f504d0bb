"""Small parts of llama.cpp: its log, its samplers, and the projector that turns a picture into vectors.

One of the modules that use ctypes; see `.decoder`.
"""

from __future__ import annotations

import ctypes
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp as llama
import llama_cpp.mtmd_cpp as mtmd
import numpy as np

from ...arrays import Floats
from ...errors import ModelError, PictureError
from ...hardware import usable_threads
from ..families import preparation
from ..types import EngineConfig, Image
from .gguf import Head, require_gguf
from .kinds import require_projector

_PENALISED = 160  # generated tokens that the repeat penalty looks back on
_IMAGES_KEPT = 256 << 20  # bytes of encoded images kept for the next question about them
_GGML_WARN, _GGML_ERROR = 3, 4  # ggml_log_level


class Embedded:
    """An image part as the decoder takes it: an mtmd chunk (owned, freed with this object) and its vectors.

    With M-RoPE it takes fewer positions than cells: the larger counts against the context.
    """

    def __init__(self, key: tuple[str, int, int, int], chunk: Any, vectors: Floats) -> None:
        self.key, self.chunk, self.vectors = key, chunk, vectors
        self.positions = int(mtmd.mtmd_input_chunk_get_n_pos(chunk))
        self.cells = max(int(mtmd.mtmd_input_chunk_get_n_tokens(chunk)), self.positions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Embedded) and self.key == other.key

    __hash__ = None  # type: ignore[assignment]

    def __del__(self) -> None:
        mtmd.mtmd_input_chunk_free(self.chunk)


Unit = int | Embedded  # a token, or a part of a picture


class Eyes:
    """A projector. Raises `ModelError` for one that does not fit the model or has no vision part.

    `around` are the ids of `<fake_token_around_image><global-img>`, where only the overview of a picture is wanted.
    """

    def __init__(self, path: Path, config: EngineConfig, model: Any, around: list[int], log: NativeLog) -> None:
        self._model, self._around, self._log = model, around, log
        self._images: OrderedDict[tuple[str, int, int], list[Unit]] = OrderedDict()
        self.prepare = preparation(Head.read(path).value, config.image_tokens)
        params = mtmd.mtmd_context_params_default()
        params.n_threads = config.threads or usable_threads()
        params.print_timings = False
        params.use_gpu = config.gpu_layers != 0
        params.warmup = False
        self._projector = mtmd.mtmd_init_from_file(c_path(path), model, params)
        if not self._projector:
            require_projector(path, Head.read(config.model))
            raise ModelError(
                f"{path}: this projector does not fit {config.model.name}. {log.last()} "
                "Next: the projector that was published with the model."
            )
        if not mtmd.mtmd_support_vision(self._projector):
            self.close()
            raise ModelError(f"{path}: this projector has no vision part.")
        # Several pictures may share a batch where their vectors are decoded like as many tokens.
        self.together = not (
            mtmd.mtmd_decode_use_mrope(self._projector) or mtmd.mtmd_decode_use_non_causal(self._projector, None)
        )

    def units(self, image: Image) -> list[Unit]:
        """The units of an image: marker tokens and projected chunks, from the cache where it was seen."""
        key = (image.sha256, image.width, image.height)
        if key in self._images:
            self._images.move_to_end(key)
            return self._images[key]
        units = self._encode(image)
        self._images[key] = units
        while len(self._images) > 1 and sum(map(_bytes, self._images.values())) > _IMAGES_KEPT:
            self._images.popitem(last=False)
        return units

    def _encode(self, image: Image) -> list[Unit]:
        whole = (image.sha256, image.width, image.height)
        if self.prepare:
            image = self.prepare(image)
        pixels = (ctypes.c_uint8 * len(image.pixels)).from_buffer_copy(image.pixels)
        bitmap = mtmd.mtmd_bitmap_init(image.width, image.height, pixels)
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            marker = mtmd.mtmd_default_marker()
            text = mtmd.mtmd_input_text(marker, len(marker), False, True)
            bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
            code = mtmd.mtmd_tokenize(self._projector, chunks, ctypes.byref(text), bitmaps, 1)
            if code != 0:
                raise ModelError(f"mtmd could not prepare this image (code {code}). {self._log.last()}")
            parts: list[Any] = []
            for index in range(mtmd.mtmd_input_chunks_size(chunks)):
                chunk = mtmd.mtmd_input_chunks_get(chunks, index)
                if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                    count = ctypes.c_size_t()
                    tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
                    parts += [tokens[i] for i in range(count.value)]
                else:
                    parts.append(ctypes.c_void_p(chunk))
            return [
                part if isinstance(part, int) else self._project(part, (*whole, index))
                for index, part in enumerate(self._overview(parts))
            ]
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def _overview(self, parts: list[Any]) -> list[Any]:
        """For Idefics3/SmolVLM, the overview alone, between the tokens that transformers' processor writes.

        mtmd always cuts such an image into tiles as well (17 passes of the tower for one picture).
        Other projectors have no `<global-img>` token and are taken as they come.
        """
        if len(self._around) != 2:
            return parts
        fake, overview = self._around
        for part, following in itertools.pairwise(parts):
            if part == overview and isinstance(following, ctypes.c_void_p):
                return [fake, overview, following, fake]
        return parts

    def _project(self, chunk: ctypes.c_void_p, key: tuple[str, int, int, int]) -> Embedded:
        code = mtmd.mtmd_encode_chunk(self._projector, chunk)
        if code != 0:
            raise ModelError(f"the projector failed on an image (code {code}). {self._log.last()}")
        size = mtmd.mtmd_input_chunk_get_n_tokens(chunk) * llama.llama_model_n_embd_inp(self._model)
        vectors = np.ctypeslib.as_array(mtmd.mtmd_get_output_embd(self._projector), (size,)).copy()
        if not np.isfinite(vectors).all():
            raise PictureError("the projector made values of this picture that are not finite. Next: another picture.")
        return Embedded(key, mtmd.mtmd_input_chunk_copy(chunk), vectors)

    def place(self, context: Any, batch: int, sequence: int, position: int, unit: Embedded) -> int:
        """Append a picture to a sequence of `context`, `batch` vectors in one decode; the next position."""
        after = llama.llama_pos()
        vectors = unit.vectors.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        code = mtmd.mtmd_helper_decode_image_chunk(
            self._projector, context, unit.chunk, vectors, position, sequence, batch,
            ctypes.byref(after), mtmd.mtmd_helper_post_decode_callback(), None,
        )  # fmt: skip
        if code != 0:
            raise ModelError(f"llama.cpp could not decode an image (code {code}). {self._log.last()}")
        return int(after.value)

    def close(self) -> None:
        self._images.clear()
        if self._projector:
            mtmd.mtmd_free(self._projector)
        self._projector = None


def _bytes(units: Sequence[Unit]) -> int:
    return sum(unit.vectors.nbytes for unit in units if isinstance(unit, Embedded))


def make_sampler(n_vocab: int, temperature: float, seed: int, repeat_penalty: float) -> Any:
    """A chain of samplers, greedy at temperature 0; the caller frees it."""
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    if repeat_penalty != 1.0:
        penalties = llama.llama_sampler_init_penalties(n_vocab, _PENALISED, repeat_penalty, 0.0, 0.0)
        llama.llama_sampler_chain_add(chain, penalties)
    if temperature > 0:
        llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_temp(temperature))
        llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_dist(seed))
    else:
        llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_greedy())
    return chain


def quantise(source: Path, target: Path, *, ftype: int, threads: int | None = None) -> None:
    """Write `source` again with the weight type `ftype` (a llama_ftype, 1 = F16). Raises `ModelError`."""
    require_gguf(source)
    log = NativeLog()
    params = llama.llama_model_quantize_default_params()
    params.ftype = ftype
    params.allow_requantize = True
    params.nthread = threads or usable_threads()
    if llama.llama_model_quantize(c_path(source), c_path(target), ctypes.byref(params)) != 0:
        raise ModelError(f"{source}: llama.cpp could not convert it. {log.last()}")


class NativeLog:
    """Keeps llama.cpp quiet and its last warnings at hand for our own messages."""

    _lines: list[str]

    def __init__(self) -> None:
        self._lines = []

        @llama.llama_log_callback  # type: ignore[untyped-decorator]
        def keep(level: int, text: bytes, _: Any) -> None:
            if level in (_GGML_WARN, _GGML_ERROR):
                self._lines = [*self._lines[-7:], text.decode("utf-8", "replace").strip()]

        self._callback = keep  # a collected callback would crash the library
        _KEPT_CALLBACKS.append(keep)
        llama.llama_log_set(keep, ctypes.c_void_p(0))
        mtmd.mtmd_log_set(keep, ctypes.c_void_p(0))
        mtmd.mtmd_helper_log_set(keep, ctypes.c_void_p(0))

    def last(self) -> str:
        """The last warnings, as the end of a message; empty where there were none."""
        text = " | ".join(line for line in self._lines[-3:] if line)
        return f"llama.cpp said: {text.rstrip('.')}." if text else ""


_KEPT_CALLBACKS: list[Any] = []


def c_path(path: Path) -> bytes:
    """A path as llama.cpp takes it."""
    return str(path).encode()
