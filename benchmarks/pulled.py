"""A model with eyes pulled from a hub, used and asked: the block of README.md, section "Your own models".

    python -m benchmarks.pulled      # some minutes; prints what the commands print, 80 columns wide

No hub could be reached where this was written, so one on loopback stands in. Behind its `tiny/llama` are the embedded
model's own weights, quantised to Q8_0, and the vision tower of `adapters/eyes`: real files, without their adapters.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from msr_local.demo.shop import write as draw_shop
from msr_local.engine.llama.process import quantise_in_child
from msr_local.models import embedded, shipped

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import loopback_hub  # noqa: E402

COMMANDS = (
    "models pull tiny/llama:Q8_0 --use",
    "ingest items.csv interactions.csv --images images --max-captions 40",
    "recommend ada -k 3 --candidates 10",
    "explain ada -k 3 --candidates 10",
)
PROGRESS = re.compile(r".+: \d+ of \d+.*\n")  # a line that a terminal would overwrite
Q8_0 = 7  # llama.cpp's number for it


def publish(folder: Path) -> Path:
    """The repository's files."""
    eyes = shipped.find(shipped.EYES)
    assert eyes is not None
    quantise_in_child(embedded.prepare(), folder / "smollm2-135m-eyes-Q8_0.gguf", ftype=Q8_0)
    shutil.copy(eyes.file, folder / "mmproj-smollm2-135m-eyes-F16.gguf")
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        (home / "published").mkdir()
        draw_shop(home / "shop")
        with loopback_hub.serve(publish(home / "published")) as hub:
            hidden = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LLAMA_"))}
            settings = {
                "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(home / "hub"), "MSR_LOCAL_HOME": str(home / "workspace"),
                "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT), "COLUMNS": "80",
                "NO_PROXY": "127.0.0.1",
            }  # fmt: skip
            for command in COMMANDS:
                print(f"$ msr-local {command}", flush=True)
                started = [sys.executable, "-m", "msr_local", *shlex.split(command)]
                with subprocess.Popen(
                    started, cwd=home / "shop", env=hidden | settings, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                ) as running:  # fmt: skip
                    assert running.stdout is not None
                    for line in running.stdout:
                        if not PROGRESS.fullmatch(line):
                            print(line.replace(str(home), "~").rstrip(), flush=True)
                if running.returncode:
                    sys.exit(running.returncode)


if __name__ == "__main__":
    main()
