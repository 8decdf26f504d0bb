"""Writes the tables of docs/embedded-model.md from the shipped manifests, and its contact sheet.

    python -m embedded.report                                        # the tables
    python -m embedded.report --captions work/eyes/captions.jsonl    # the examples and the contact sheet as well

`captions.jsonl` comes from `embedded.measure --captions`. The sheet shows drawings only: the photos are not the
project's to show, so of these the words must do.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from .moments import APART
from .pictures import drawings, named
from .ship import ADAPTERS

PAGE = Path(__file__).parents[1] / "docs" / "embedded-model.md"
SHEET = PAGE.with_name("embedded-drawings.jpg")
_ACROSS, _CELL, _TEXT = 6, 150, 46  # pictures in a row, pixels of one, pixels below it
_BLOCK = re.compile(r"(<!-- (\w+): .*? -->\n).*?(<!-- end -->)", re.DOTALL)
_ASKED = {  # measure of embedded.measure: what the page calls it, the least that was asked, what was aimed at
    "drawn: all three": ("drawings never seen: object, colour and pattern all right", 90, 97),
    "drawn: kind": ("the object", None, None),
    "drawn: colour": ("the colour", None, None),
    "drawn: pattern": ("the pattern", None, None),
    "fashion: kind": ("fashion photos: article type", 72, 85),
    "fashion: colour": ("fashion photos: base colour, or a near one", 62, 75),
    "groceries: kind": ("grocery photos: coarse class", 50, 70),
}
_DRIFT = (
    "new taste named within a block", "new taste named within two blocks", "new taste first after two blocks",
    "faded taste not first after two blocks", "summaries that name what is nowhere", "summaries copied whole",
)  # fmt: skip
_SOURCES = {"drawn": "drawn worlds", "photos": "worlds of fashion photos", "invented": "invented worlds",
            "movielens": "MovieLens", "movietweetings": "MovieTweetings", "microlens": "MicroLens"}  # fmt: skip


def metrics(name: str) -> dict[str, Any]:
    """What the manifest of the shipped part `name` says of how good it is."""
    found: dict[str, Any] = json.loads((ADAPTERS / name / "manifest.json").read_text(encoding="utf-8"))["metrics"]
    return found


def captions() -> str:
    """Shares of held-out pictures whose caption is right."""
    found = metrics("captioner")
    shares, speed = found["shares"], found["pictures"] / found["seconds"]
    rows = [
        [what, _percent(shares[key]), str(shares[key]["pictures"]), *(f"{n}%" if n else "" for n in goals)]
        for key, (what, *goals) in _ASKED.items()
    ]
    table = _table(["held-out pictures", "right [95%]", "pictures", "least", "aim"], rows)
    return (
        f"{table}\n\n{found['pictures']:,} pictures took {found['seconds']:.0f} s on two cores, {speed:.1f} a second. "
        f"Of 100 captions {100 * found['identical']:.0f} are word for word what transformers writes (greedy, float32)."
    )


def confusions() -> str:
    """The commonest kinds that were taken for another."""
    rows = [[source, truth, said, str(count)] for source, truth, said, count in metrics("captioner")["confusions"][:16]]
    return _table(["pictures of", "truth", "caption said", "times"], rows)


def drift() -> str:
    """What the summaries of held-out people say: the shipped summariser, the untuned model, and the rule itself."""
    found = metrics("summariser")
    columns = {name: next(iter(found[name].values()))["all"] for name in ("tuned", "untuned", "rule")}
    rows = [
        [measure, *(_percent({"value": v, "ci95": ci}) for v, *ci in (column[measure] for column in columns.values()))]
        for measure in _DRIFT
    ]
    return _table(["of summaries or changes of taste", *columns], rows)


def sources() -> str:
    """The two measures that matter most, of the shipped summariser, by where the people come from."""
    (tuned,) = metrics("summariser")["tuned"].values()
    rows = [
        [source, *(_percent({"value": found[name][0], "ci95": found[name][1:]}) for name in (_DRIFT[1], _DRIFT[3]))]
        for source, found in tuned.items()
        if source != "all"
    ]
    return _table(["people of", _DRIFT[1], _DRIFT[3]], rows)


def questions() -> str:
    """AUC over the recommender's validation questions: of its own log-odds, of recall, and of both."""
    rows = []
    for source, measured in metrics("recommender")["questions"].items():
        aucs = ("{:.3f} [{:.3f}, {:.3f}]".format(one["value"], *one["ci95"])
                for one in (measured[key]["auc"] for key in ("after", "recall", "fused")))  # fmt: skip
        untuned = f"{measured['before']['auc']['value']:.3f}"
        rows.append([_SOURCES[source], str(measured["rows"]), untuned, *aucs])
    return _table(["validation questions", "", "untuned", "shipped [95%]", "recall [95%]", "both [95%]"], rows)


def moments() -> str:
    """The share of its negatives that a positive is ranked before, by the model, by recall, and by both."""
    found = metrics("recommender")["moments"]
    names = ("model", "recall", "fused")
    rows = [
        [_shown(source), *(_percent(one[f"{name}: of its moment"]) for name in names)] for source, one in found.items()
    ]
    return _table(["within a list of eight or nine", "shipped", "recall", "both"], rows)


def _shown(source: str) -> str:
    """The name of a source, and how its questions were shown where they are measured apart."""
    name, apart, how = source.partition(APART)
    return f"{_SOURCES[name]}{apart}{how}"


def objectives() -> str:
    """The two losses side by side, on the same moments: the share of its negatives that a positive is ranked before."""
    tried = metrics("recommender")["tried"]
    rows = []
    for source in next(iter(tried["after"].values())):
        shares = (_percent(one[source][f"{name}: of its moment"]) for one in tried["after"].values()
                  for name in ("model", "fused"))  # fmt: skip
        rows.append([_SOURCES[source], *shares])
    head = [f"{loss}: {name}" for loss in tried["after"] for name in ("model alone", "with recall")]
    return _table(["validation moments", *head], rows)


TABLES: dict[str, Callable[[], str]] = {
    one.__name__: one for one in (captions, confusions, drift, sources, questions, moments, objectives)
}


def filled(page: str, blocks: dict[str, str]) -> str:
    """`page` with what stands between `<!-- NAME: … -->` and `<!-- end -->` replaced, for each name in `blocks`."""

    def block(found: re.Match[str]) -> str:
        name = found.group(2)
        return f"{found.group(1)}{blocks[name]}\n{found.group(3)}" if name in blocks else found.group(0)

    return _BLOCK.sub(block, page)


def tables() -> dict[str, str]:
    """All tables that come from the manifests."""
    return {name: make() for name, make in TABLES.items()}


def examples(rows: Iterable[list[str]], each: int = 8) -> str:
    """Captions of random photos, right and wrong as they fall."""
    rng, lines = random.Random(0), []
    for source in ("fashion", "groceries"):
        for _, _, truth, said in rng.sample(sorted(row for row in rows if row[0] == source), each):
            lines.append([source, truth, said])
    return _table(["photo of", "caption by rule from its attributes", "what the model wrote"], lines)


def sheet(said: dict[str, str], path: Path, count: int = 24, wrong: int = 12) -> None:
    """Random held-out drawings, then some that went wrong, each with its caption and, where that differs, the truth."""
    found = [(picture, draw) for picture, draw in drawings() if picture.name in said and picture.held_out]
    rng = random.Random(0)
    lot = rng.sample(found, count)
    bad = [one for one in found if not named(one[0], said[one[0].name])["all three"]]
    chosen = [*lot, *rng.sample(bad, min(wrong, len(bad)))]
    height = _CELL + _TEXT
    image = Image.new("RGB", (_ACROSS * _CELL, -(-len(chosen) // _ACROSS) * height), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for number, (picture, draw) in enumerate(chosen):
        x, y = number % _ACROSS * _CELL, number // _ACROSS * height
        image.paste(draw().resize((_CELL, _CELL)), (x, y))
        right = named(picture, said[picture.name])["all three"]
        lines = _wrapped(said[picture.name], pen, font, _CELL - 6)
        if not right:
            lines += _wrapped(f"truth: {picture.name.split(' #')[0]}", pen, font, _CELL - 6)
        for line, text in enumerate(lines[:4]):
            pen.text((x + 3, y + _CELL + 1 + 11 * line), text, "black" if right else (170, 20, 20), font=font)
    image.save(path, quality=85, optimize=True)


def _wrapped(text: str, pen: ImageDraw.ImageDraw, font: Any, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer, font=font) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _percent(estimate: dict[str, Any]) -> str:
    low, high = estimate["ci95"]
    return f"{100 * estimate['value']:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    blocks = tables()
    if arguments.captions:
        rows = [json.loads(line) for line in arguments.captions.read_text(encoding="utf-8").splitlines()]
        blocks["examples"] = examples(rows)
        sheet({name: said for source, name, _, said in rows if source == "drawn"}, SHEET)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), blocks), encoding="utf-8")


if __name__ == "__main__":
    main()
