"""What looking and reading add, in one table for the README, from the results in tastes/:  python -m benchmarks.page"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .tastes import RESULTS

_WORLDS = {
    "second-few": "{shops} shops that opened, {crowd} shoppers known in each",
    "second": "the same shop, {crowd} shoppers known",
    "fashion-learned": "photos of clothes, {crowd} shoppers known",
}
_METRICS = {"hr@10": "last purchase among the ten", "taste": "of the ten, to their taste"}


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
