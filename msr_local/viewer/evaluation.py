"""The table of an evaluation: the systems, best first, and the paired tests below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from .tables import headed

_NAMES = {"auc": "AUC", "hr@5": "HR@5", "mrr@5": "MRR@5", "ndcg@10": "NDCG@10"}


def evaluation_view(document: Mapping[str, Any]) -> RenderableType:
    """What `evaluate` shows: a row for each system on the same candidates, in per cent."""
    systems = {document["system"]: document["metrics"], **document["baselines"]}
    shown = [name for name in _NAMES if name in document["metrics"]]
    table = headed(("", *(_NAMES[name] for name in shown)), right=True)
    for name in sorted(systems, key=lambda name: -(systems[name]["ndcg@10"]["value"] or 0.0)):
        cells = [_interval(systems[name][metric]) for metric in shown]
        table.add_row(name, *cells, style="bold" if name == document["system"] else "")
    if document["negatives"] is None:
        best = f"{document['recalled']:.1%} of the positives are among the best {document['candidates']}"
        against = f"the whole catalogue ranked ({best})"
    else:
        against = f"{document['candidates'] - 1} {document['negatives']} negatives"
    way = {"users": "users held back", "order": "each user's last items held back", "time": "a later time held back"}
    how = f"Protocol {document['protocol']}, {way[document['split']['kind']]}"
    head = Text(f"{how}: {document['users']:,} users, {against}.")
    scale = Text("Per cent, ± half of the 95% interval (bootstrap over users).")
    tests = (Text(_tested(name, found)) for name, found in document["tests"].items())
    return Group(head, scale, Text(), table, Text(), *tests)


def ablation_view(document: Mapping[str, Any]) -> RenderableType:
    """What `evaluate --ablation` shows: a row for each variant of the recipe, and what the first one has more."""
    shown = ["auc", "hr@5", "mrr@5"]
    table = headed(("", *(_NAMES[name] for name in shown), "HR@5 lost", "read"), right=True)
    for number, (name, one) in enumerate(document["variants"].items()):
        lost = one["lost"]["hr@5"]
        loss = f"{100 * lost['value']:.1f} ({_p(lost['p'])})" if number else ""
        table.add_row(
            name,
            *(_interval(one[metric]) for metric in shown), loss, f"{one['summarised']:.1f}",
            style="" if number else "bold",
        )  # fmt: skip
    head = f"The language model alone, {document['users']:,} users. Per cent, ± half of the 95% interval."
    return Group(Text(head), Text("read: how many interactions are summarised, on average."), Text(), table)


def _interval(metric: Mapping[str, Any]) -> str:
    low, high = metric["ci95"]
    if metric["value"] is None:
        return "-"
    return f"{100 * metric['value']:.1f} ± {50 * (high - low):.1f}"


def _tested(name: str, found: Mapping[str, Any]) -> str:
    """One paired comparison in words."""
    parts = [
        f"{metric} {100 * one['value']:+.2f} ({_p(one['p'])})"
        for metric, one in found.items()
        if one["value"] is not None and metric in ("auc_per_user", "hr@5", "mrr@5", "ndcg@10")
    ]
    return f"{name}: {', '.join(parts)}"


def _p(value: float) -> str:
    """A p of .0002 is not zero, and is not printed so."""
    return f"p {value:.3f}" if value >= 0.001 else "p <0.001"
