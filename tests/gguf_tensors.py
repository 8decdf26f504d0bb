"""The tensors of a GGUF file, read in two ways."""

from __future__ import annotations

import math
import struct

from msr_local.engine.llama import gguf
from msr_local.engine.llama.gguf import Head


def tensors(path):
    """Name -> (shape, type, bytes), read without the library, which takes seconds for a real vocabulary."""
    from gguf.constants import GGML_QUANT_SIZES

    head, data = Head.read(path), path.read_bytes()
    infos, at, found = head.infos, 0, {}
    for _ in range(head.tensors):
        end = gguf._skip(infos, at, 8)
        name = infos[at + 8 : end].decode()
        (dimensions,) = struct.unpack_from("<I", infos, end)
        *shape, kind, offset = struct.unpack_from(f"<{dimensions}QIQ", infos, end + 4)
        at = end + 4 + 8 * dimensions + 12
        block, size = GGML_QUANT_SIZES[kind]
        start = head.data + offset
        found[name] = (shape, kind, data[start : start + math.prod(shape) // block * size])
    return found


def libraries_tensors(path):
    from gguf import GGUFReader

    return {t.name: (list(map(int, t.shape)), t.tensor_type, t.data.tobytes()) for t in GGUFReader(path).tensors}
