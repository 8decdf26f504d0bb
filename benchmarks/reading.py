"""What looking and reading add, in tables for the README, from tastes/ and quality/:  python -m benchmarks.page"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .quality import RESULTS as QUALITY
from .tastes import RESULTS

_WORLDS = {
    "second-few": "{shops} new shops, {crowd} known buyers each",
    "second": "the first of them, {crowd} known buyers",
    "fashion-learned": "photos of clothes, {crowd} known buyers",
}
_METRICS = {"hr@10": "last purchase", "taste": "to their taste"}
_COLD = {
    "recommended": "*recommended*",
    "language model": "the model's answers alone",
    "recall alone": "recall alone",
    "blend of baselines": "blend of baselines",
    "words": "shared words",
    "text": "similarity of texts",
}
_MICROLENS = (  # of which document, which system, and what it is
    ("microlens-popular6", "popularity", "popularity"),
    ("microlens-popular6", "blend of baselines", "blend of baselines: popularity, item-kNN, EASE, Markov, text"),
    ("microlens-popular6-sequential", "SASRec", "SASRec, untuned (it is in none of these blends)"),
    (
        "microlens-popular6", "blend with two towers",
        "that blend with two towers over ids (a small network of our own)",
    ),
    ("microlens-popular6", "blend that reads", "**blend that reads**: its towers also get the titles as vectors"),
    ("microlens-popular6-learned", "recall alone", "recall alone, learned"),
    ("microlens-popular6-learned", "language model", "the model's yes/no answers alone"),
    ("microlens-popular6-learned", "recommended", "**recommended**: recall and answers, calibrated"),
)  # fmt: skip
_SHOWN = ("auc", "hr@5", "mrr@5")
_PARTS = {  # of the document, and the metrics that are shown of each
    "cold": ("hr@10", "ndcg@10"), "warm": ("ndcg@10",), "both": ("ndcg@10",), "among_cold": ("ndcg@10",),
}  # fmt: skip


def markdown() -> str:
    """The table; p is that of the paired test against what is recommended."""
    lines = [
        "| | *recommended* | without captions | others' captions | recall alone | attributes counted |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, said in _WORLDS.items():
        document = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for metric, what in _METRICS.items():
            cells = [_value(document["rows"]["recommended"], metric)]
            cells += [_without(document, variant, metric) for variant in ("no-captions", "shuffled-captions")]
            cells += [_other(document, way, metric) for way in ("recall alone", "attribute counting")]
            lines.append(f"| {said.format(**document)}; {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _without(document: Mapping[str, Any], variant: str, metric: str) -> str:
    found = document["variants"].get(variant)
    if not found:
        return ""
    return _value(found["rows"]["recommended"], metric) + _p(found["lost"]["recommended"][metric])


def _other(document: Mapping[str, Any], way: str, metric: str) -> str:
    return _value(document["rows"][way], metric) + _p(document["tests"][f"recommended - {way}"][metric])


def _value(row: Mapping[str, Any], metric: str) -> str:
    return f"{100 * row[metric]['value']:.1f}"


def _p(test: Mapping[str, Any]) -> str:
    return f" (p {test['p']:.4f})".replace(" 0.", " .")


def cold() -> str:
    """The table of new items; p is that of the paired test against what is recommended."""
    document = json.loads((QUALITY / "second-cold-items.json").read_text(encoding="utf-8"))
    both = {"metrics": document["baselines"] | {document["system"]: document["metrics"]}, "tests": document["tests"]}
    lines = [
        "| | new item, HR@10 | new item | other item | both | among new items |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, said in _COLD.items():
        cells = []
        for part, metrics in _PARTS.items():
            found = both if part == "both" else document[part]
            test = found["tests"].get(f"recommended - {name}")
            cells += [_value(found["metrics"][name], one) + (_p(test[one]) if test else "") for one in metrics]
        lines.append(f"| {said} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def microlens() -> str:
    """The table of MicroLens with the paper's protocol; the first row is the paper's own."""
    lines = [
        "| | AUC | HR@5 | MRR@5 |",
        "| --- | --- | --- | --- |",
        "| MLLM-MSR (7B), as published | 83.2 | 78.2 | 60.4 |",
    ]
    for name, system, said in _MICROLENS:
        document = json.loads((QUALITY / f"{name}.json").read_text(encoding="utf-8"))
        found = (document["baselines"] | {document["system"]: document["metrics"]})[system]
        lines.append(f"| {said} | " + " | ".join(_value(found, one) for one in _SHOWN) + " |")
    return "\n".join(lines)
