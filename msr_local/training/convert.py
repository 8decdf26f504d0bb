"""From Hugging Face folders to GGUF files, with llama.cpp's own converter and quantiser.

The converter is in the source distribution of llama-cpp-python but not in its wheel, and the `gguf` package of
PyPI does not match it. So the sdist of the exact installed release is fetched once with pip, checked against a
pinned hash before anything in it is unpacked or run, and its scripts run in a process of their own.

Every file appears under its final name whole or not at all (`files.written_whole`). Knows nothing of training, of
the workspace or of torch.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from ..engine.llama.gguf import Head, metadata
from ..engine.llama.process import quantise_in_child
from ..errors import ModelError
from ..files import cache_folder, sha256, written_whole
from . import foreign

QUANTISATIONS = {"f16": 1, "q4_0": 2, "q8_0": 7, "q4_k_m": 15}  # llama_ftype

_SETTING = "MSR_LOCAL_LLAMA_CPP"
_SDISTS = {"0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}  # sha256
_MODEL_SCRIPT, _ADAPTER_SCRIPT = "convert_hf_to_gguf.py", "convert_lora_to_gguf.py"
_NEEDED = (_MODEL_SCRIPT, _ADAPTER_SCRIPT, "conversion/__init__.py", "gguf-py/gguf/__init__.py")
_F16 = QUANTISATIONS["f16"]
# As python -m pip, but with nothing of the current folder: Python 3.10 knows no PYTHONSAFEPATH.
_PIP = "import runpy, sys; sys.path[:] = filter(None, sys.path); runpy.run_module('pip', run_name='__main__')"


def silent(_: str) -> None:
    """A note that nobody wants to read."""


def converter(folder: Path | None = None, note: Callable[[str], None] = silent) -> Path:
    """The folder with llama.cpp's conversion scripts: `folder`, else $MSR_LOCAL_LLAMA_CPP, else the pinned sdist.

    The sdist (77 MB, of which 2 MB are kept) is fetched on first use. Raises `ModelError` where a named folder
    is no llama.cpp, where the installed release is not a known one, and where pip cannot fetch it.
    """
    named = folder or os.environ.get(_SETTING)
    if named:
        tools = Path(named).resolve()
        if lacking := _lacking(tools):
            raise ModelError(
                f"{tools}: not a llama.cpp folder (it has no {lacking[0]}). "
                f"Next: give a checkout of llama.cpp as --llama-cpp DIR or ${_SETTING}."
            )
        return tools
    version = importlib.metadata.version("llama-cpp-python").split("+")[0]
    tools = cache_folder() / f"llama.cpp-{version}"
    if _lacking(tools):
        if version not in _SDISTS:
            raise ModelError(
                f"llama-cpp-python {version} is not a release whose converter is known ({', '.join(_SDISTS)}). "
                f"Next: give a checkout of llama.cpp as --llama-cpp DIR or ${_SETTING}, or install a known release."
            )
        note(f"Fetching the converter: the source of llama-cpp-python {version}, 77 MB, once.")
        _fetch(version, tools)
    return tools


def _lacking(tools: Path) -> list[str]:
    return [name for name in _NEEDED if not (tools / name).is_file()]


def _fetch(version: str, tools: Path) -> None:
    shutil.rmtree(tools, ignore_errors=True)  # incomplete: something cleaned up in the cache
    with written_whole(tools) as part:
        (part / "download").mkdir(parents=True)
        sdist = _download(version, part / "download")
        _unpack(sdist, f"llama_cpp_python-{version}/vendor/llama.cpp/", part)
        shutil.rmtree(part / "download")
        if lacking := _lacking(part):
            raise ModelError(f"{sdist.name} has no {lacking[0]}. Next: --llama-cpp DIR.")


def _download(version: str, folder: Path) -> Path:
    """The sdist, fetched by pip: it knows the user's index, proxy and cache.

    pip runs the build script of what it downloads to read its metadata, hence pip gets to check the hash too.
    """
    wanted = _SDISTS[version]
    requirement = folder / "requirements.txt"
    requirement.write_text(f"llama-cpp-python=={version} --hash=sha256:{wanted}\n", encoding="utf-8")
    options = ["-q", "--no-deps", "--no-binary", "llama-cpp-python", "-r", str(requirement), "-d", str(folder)]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONSAFEPATH": "1"}
    done = _execute([sys.executable, "-c", _PIP, "download", *options], environment)
    fetched = next(folder.glob("*.tar.gz"), None)
    if "DO NOT MATCH THE HASHES" in done.stderr or (fetched and sha256(fetched) != wanted):
        raise ModelError(
            f"the source of llama-cpp-python {version} that pip fetched is not the known one (wrong SHA-256), so "
            "nothing of it was used. Next: check the package index and pip's cache (pip cache purge), "
            "or give a checkout of llama.cpp as --llama-cpp DIR."
        )
    if "No module named pip" in done.stderr:
        raise ModelError(
            f"the converter has to be fetched once, and {sys.executable} has no pip to do it. "
            "Next: python -m ensurepip, or give a checkout of llama.cpp as --llama-cpp DIR."
        )
    if done.returncode or not fetched:
        raise ModelError(
            f"pip could not fetch the source of llama-cpp-python {version}, which holds the converter: "
            f"{_last_words(done)} Next: check the network, or give a checkout of llama.cpp as --llama-cpp DIR."
        )
    return fetched


def _unpack(sdist: Path, root: str, folder: Path) -> None:
    with tarfile.open(sdist) as archive:
        for member in archive:
            name = member.name.removeprefix(root)
            first = name.split("/")[0]
            wanted = first in {"conversion", "gguf-py"} or (first == name and name.startswith("convert_"))
            if member.isfile() and wanted and name != member.name:
                archive.extract(member.replace(name=name), folder, filter="data")


def convert_model(tools: Path, folder: Path, target: Path, *, projector: bool = False, outtype: str = "f16") -> None:
    """Write the model in `folder`, or with `projector` only its projector, as the GGUF file `target`.

    Raises `ModelError` where the converter does not know or cannot read the model.
    """
    options = ["--outtype", outtype, *(["--mmproj"] if projector else [])]
    if not projector and foreign.predicts(folder):
        options.append("--no-mtp")
    with foreign.eyes(folder) if projector else contextlib.nullcontext(folder) as source:
        _convert(tools, _MODEL_SCRIPT, source, target, options)


def convert_adapter(tools: Path, adapter: Path, base: Path, target: Path, *, outtype: str = "f16") -> None:
    """Write the PEFT folder `adapter`, a LoRA on the model in `base`, as the GGUF file `target`.

    Raises `ModelError` where the converter does not know the model or the adapter is no plain LoRA.
    """
    with foreign.predicting(base) as known:
        _convert(tools, _ADAPTER_SCRIPT, adapter, target, ["--outtype", outtype, "--base", str(known.resolve())])


def _convert(tools: Path, script: str, source: Path, target: Path, options: list[str]) -> None:
    # Nothing of the caller's Python setup: PyPI's gguf, if first on the path, does not match the scripts.
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "NO_LOCAL_GGUF"}} | {
        "PYTHONPATH": os.pathsep.join([str(tools / "gguf-py"), str(tools)]),
        "PYTHONUTF8": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    with written_whole(target) as part:
        # The scripts take --outfile as it stands, but replace {ftype} and the like in its last name.
        command = [sys.executable, str(tools / script), "--outfile", str(part), *options, str(source.resolve())]
        done = _execute(command, environment)
        if done.returncode:
            raise ModelError(f"{source}: {script} could not convert it: {_last_words(done)} Next: try another base.")
        if not _is_gguf(part):
            raise ModelError(f"{source}: {script} ended well but wrote no GGUF file. Next: check --llama-cpp DIR.")
        if not Head.read(part).tensors:
            raise ModelError(
                f"{source}: {script} knows none of its weights by their names, so the file would be empty. "
                "Next: another base, or a newer llama.cpp (--llama-cpp DIR)."
            )


def quantise(source: Path, target: Path, quantisation: str) -> None:
    """Write the GGUF file `source` again as `target`, with one of the `QUANTISATIONS`.

    F16 of an F16 file is a hard link where the disk allows it. Raises `ModelError` for an unknown name and for
    a file that llama.cpp cannot convert, `EngineCrashed` where it ended its process.
    """
    if quantisation not in QUANTISATIONS:
        raise ModelError(f"{quantisation!r} is no known quantisation. Next: one of {', '.join(QUANTISATIONS)}.")
    kind = metadata(source).get("general.file_type")
    with written_whole(target) as part:
        if quantisation == "f16" and kind == _F16:
            try:
                part.hardlink_to(source)
            except OSError:  # another disk, or one without links
                shutil.copyfile(source, part)
        else:
            quantise_in_child(source, part, ftype=QUANTISATIONS[quantisation])


def graft_tokenizer(base: Path, target: Path) -> None:
    """Give the GGUF file `target` the whole tokenizer of `base`: every `tokenizer.*` key; tensors stay as they are.

    Raises `ModelError` where `base` has no tokenizer, or one with another number of tokens than `target`'s.
    """
    old, donor = Head.read(target), Head.read(base)
    if not donor.tokenizer:
        raise ModelError(f"{base}: this GGUF file has no tokenizer. Next: give the base model, not an adapter.")
    sizes = [len(head.value("tokenizer.ggml.tokens") or ()) for head in (donor, old)]
    if sizes[1] and sizes[0] != sizes[1]:
        raise ModelError(
            f"{target} has {sizes[1]:,} tokens and {base} has {sizes[0]:,}: it was not made from this base. "
            "Next: give the base it was trained from."
        )
    if old.tokenizer == donor.tokenizer:
        return
    fields = {key: value for key, value in old.fields.items() if key not in old.tokenizer} | donor.tokenizer
    with written_whole(target) as part:
        old.written_to(part, target, fields)


def tokenizer_differences(base: Path, other: Path) -> list[str]:
    """The `tokenizer.*` keys that differ between two GGUF files or that only one has, sorted."""
    ours, theirs = Head.read(base).tokenizer, Head.read(other).tokenizer
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))


def _execute(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command that must not reach our streams, nor ask anything."""
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace"
    )


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    """The line that says best why a command failed."""
    if done.returncode < 0:
        return f"it was ended by signal {-done.returncode}." + (" Out of memory?" if done.returncode == -9 else "")
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("INFO", "WARNING", "DEBUG", "[notice]", "[end of"))]
    errors = [line for line in telling if line.upper().startswith("ERROR")]
    said = errors[-1] if errors and "Traceback (most recent call last):" not in lines else (telling or [""])[-1]
    said = re.sub(r"^ERROR:(\s+|[\w.-]+:)?", "", said)  # of pip, of a script's logger
    return (said or f"exit code {done.returncode}").rstrip(".") + "."


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False
