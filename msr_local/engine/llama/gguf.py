"""What can be said of a GGUF file without loading it, and its head written otherwise."""

from __future__ import annotations

import itertools
import math
import mmap
import shutil
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import ModelError

# GGUF value types: struct formats of the plain ones, and the two that have a length.
_PLAIN = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
_TOKENS = "tokenizer.ggml.tokens"
# Tensor types: values of a block, and its bytes. One that is not here counts as nothing.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip
# How files begin that are often taken for a model, and what is to be done about each.
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, which names the model but is not it. Next: git lfs pull, or "
    "download the file itself.",
    b"<": "a web page. Next: download the file itself; a gated model needs its terms accepted first.",
    b"PK": "weights of PyTorch. Next: give a GGUF file, made for llama.cpp.",
}


def require_gguf(path: Path) -> None:
    """Raise `ModelError` unless `path` is a readable file that begins like a GGUF of a known version."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise ModelError(f"{path}: cannot read this model file ({error.strerror}). Next: check the path.") from error
    if not head:
        raise ModelError(f"{path}: not a GGUF model file: it is empty. Next: download it again.")
    if head[:4] == b"GGUF" and int.from_bytes(head[4:8], "big") in (2, 3):
        raise ModelError(f"{path}: a GGUF file for big-endian machines. Next: one for others; nearly all are.")
    if head[:4] != b"GGUF" or int.from_bytes(head[4:8], "little") not in (2, 3):
        what = next((told for start, told in _OTHERS.items() if head.lstrip().startswith(start)), None)
        if what:
            raise ModelError(f"{path}: not a GGUF model file: it is {what}")
        raise ModelError(f"{path}: not a GGUF model file (version 2 or 3). Next: give one made for llama.cpp.")


def metadata(path: Path) -> dict[str, Any]:
    """All keys and values of a GGUF file. Raises `ModelError` for a broken one."""
    head = Head.read(path)
    return {key: head.value(key) for key in head.fields}


def peek(path: Path) -> dict[str, Any]:
    """The keys and values that stand before the vocabulary, which is the long part. Raises `ModelError`."""
    require_gguf(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            fields = itertools.takewhile(lambda one: not one[0].startswith("tokenizer."), _fields(data, _count(data)))
            return {key: _value(raw) for key, raw, _ in fields}
    except _BROKEN as error:
        raise _broken(path, error) from error


def rename_tokens(source: Path, target: Path, names: Mapping[str, str]) -> None:
    """Write `source` to `target` with the tokens `names` (old: new) called otherwise; their ids stay.

    Raises `ModelError` when one of them is not in the vocabulary.
    """
    head = Head.read(source)
    tokens: list[str] = head.value(_TOKENS) or []
    if missing := [name for name in names if name not in tokens]:
        raise ModelError(f"{source}: its vocabulary has no token {', '.join(missing)}.")
    raw = head.fields[_TOKENS]
    for old, new in names.items():
        before, after = (struct.pack("<Q", len(one.encode())) + one.encode() for one in (old, new))
        at = raw.index(before)
        raw = raw[:at] + after + raw[at + len(before) :]
    head.written_to(target, source, head.fields | {_TOKENS: raw})


class Head:
    """What comes before the tensors' data in a GGUF file, the values as the bytes that stand there.

    Bytes, so that what is copied is copied exactly and what is compared is compared exactly.
    """

    def __init__(self, data: mmap.mmap) -> None:
        _, self.version, self.tensors = struct.unpack_from("<4sIQ", data)
        self.fields: dict[str, bytes] = {}
        at = 24
        for key, value, after in _fields(data, _count(data)):
            self.fields[key] = value
            at = after
        start, end = at, 0
        self.values = 0  # numbers in all tensors
        self.names: list[str] = []
        for _ in range(self.tensors):
            named = _skip(data, at, _STRING)
            self.names.append(data[at + 8 : named].decode("utf-8", "replace"))
            (dimensions,) = struct.unpack_from("<I", data, named)
            *sizes, kind, offset = struct.unpack_from(f"<{dimensions}QIQ", data, named + 4)
            values, size = _BLOCKS.get(kind, (1, 0))
            self.values += math.prod(sizes)
            end = max(end, offset + math.prod(sizes) // values * size)
            at = named + 4 + 8 * dimensions + 4 + 8
        self.infos = data[start:at]
        self.alignment: int = self.value("general.alignment") or _ALIGNMENT
        self.data = at + -at % self.alignment
        self.size, self.end = len(data), self.data + end  # bytes that are there, and where the last tensor ends
        if self.tensors and self.end > self.size:
            raise ValueError(f"it is cut off: {self.size:,} of {self.end:,} bytes")

    @classmethod
    def read(cls, path: Path) -> Head:
        """Raises `ModelError` for a file that is not GGUF or is cut off."""
        require_gguf(path)
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return cls(data)
        except _BROKEN as error:
            raise _broken(path, error) from error

    @property
    def tokenizer(self) -> dict[str, bytes]:
        """All `tokenizer.*` keys with their raw values."""
        return {key: value for key, value in self.fields.items() if key.startswith("tokenizer.")}

    def value(self, key: str) -> Any:
        """The value of `key` as Python has it; None where it is missing."""
        raw = self.fields.get(key)
        return None if raw is None else _value(raw)

    def written_to(self, target: Path, source: Path, fields: Mapping[str, bytes]) -> None:
        """Write the file `source`, which this is the head of, to `target` with other `fields`; tensors stay."""
        with source.open("rb") as old, target.open("wb") as out:
            out.write(struct.pack("<4sIQQ", b"GGUF", self.version, self.tensors, len(fields)))
            for key, value in fields.items():
                name = key.encode()
                out.write(struct.pack("<Q", len(name)) + name + value)
            out.write(self.infos)
            out.write(bytes(-out.tell() % self.alignment))
            old.seek(self.data)
            shutil.copyfileobj(old, out, 1 << 20)


_BROKEN = (struct.error, ValueError, KeyError, TypeError, OverflowError, RecursionError, OSError)


def _broken(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path}: a broken GGUF file ({error}). Next: make or download it again.")


def _count(data: mmap.mmap) -> int:
    """How many keys there are."""
    return int(struct.unpack_from("<Q", data, 16)[0])


def _fields(data: mmap.mmap, count: int) -> Iterator[tuple[str, bytes, int]]:
    """Each key with its raw value, and where that ends."""
    at = 24
    for _ in range(count):
        start = _skip(data, at, _STRING)
        (kind,) = struct.unpack_from("<I", data, start)
        end = _skip(data, start + 4, kind)
        yield data[at + 8 : start].decode(), data[start:end], end
        at = end


def _value(raw: bytes) -> Any:
    return _decode(raw, 4, struct.unpack_from("<I", raw)[0])[0]


def _skip(data: mmap.mmap, at: int, kind: int) -> int:
    """Where the value of type `kind` that begins at `at` ends."""
    if kind == _STRING:
        return at + 8 + int(struct.unpack_from("<Q", data, at)[0])
    if kind != _ARRAY:
        return at + struct.calcsize("<" + _PLAIN[kind])
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner in _PLAIN:
        return at + int(count) * struct.calcsize("<" + _PLAIN[inner])
    for _ in range(count):
        at = _skip(data, at, inner)
    return at


def _decode(raw: bytes, at: int, kind: int) -> tuple[Any, int]:
    """The value of type `kind` at `at`, and where it ends."""
    if kind == _STRING:
        end = at + 8 + struct.unpack_from("<Q", raw, at)[0]
        return raw[at + 8 : end].decode("utf-8", "replace"), end
    if kind != _ARRAY:
        form = "<" + _PLAIN[kind]
        return struct.unpack_from(form, raw, at)[0], at + struct.calcsize(form)
    inner, count = struct.unpack_from("<IQ", raw, at)
    at += 12
    values = []
    for _ in range(count):
        value, at = _decode(raw, at, inner)
        values.append(value)
    return values, at
