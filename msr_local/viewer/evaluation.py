"""The table of an evaluation: the systems, best first, and the paired tests below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from .canvas import Canvas, Drawing
from .tables import headed

_NAMES = {"auc": "AUC", "hr@5": "HR@5", "mrr@5": "MRR@5", "hr@10": "HR@10", "ndcg@10": "NDCG@10"}
_SHOWN = ("auc", "hr@5", "mrr@5", "ndcg@10")
_RANKED = ("hr@10", "ndcg@10")  # of lists that are as long as a recommendation


def evaluation_view(document: Mapping[str, Any]) -> RenderableType:
    """What `evaluate` shows: a row for each system on the same candidates, in per cent."""
    return Drawing(lambda canvas: _evaluation(document, canvas))


def _evaluation(document: Mapping[str, Any], canvas: Canvas) -> RenderableType:
    systems = {document["system"]: document["metrics"], **document["baselines"]}
    shown = [name for name in _SHOWN if name in document["metrics"]]
    if document["negatives"] is None:
        against = "the whole catalogue ranked"
        if document["recalled"] is not None:
            best = f"{document['recalled']:.1%} of the positives are among the best {document['candidates']}"
            against += f" ({best})"
    else:
        against = f"{document['candidates'] - 1} {document['negatives']} negatives"
    way = {"users": "users held back", "order": "each user's last items held back", "time": "a later time held back"}
    how = f"Protocol {document['protocol']}, {way[document['split']['kind']]}"
    if "cold" in document:
        how = f"Protocol {document['protocol']}, nothing known of {document['cold_items']:,} items"
    head = Text(f"{how}: {document['users']:,} users, {against}.")
    scale = canvas.text("Per cent, ± half of the 95% interval (bootstrap over users).")
    if "cold" not in document:
        return Group(head, scale, Text(), _systems(systems, shown, document["system"], canvas), Text(),
                     *_tests(document["tests"]))  # fmt: skip
    parts = {
        "Asked for one of these items": document["cold"],
        "Asked for another item": document["warm"],
        "Both together": {"metrics": systems, "tests": document["tests"]},
    }
    if "among_cold" in document:  # earlier releases did not measure it
        parts["Asked for one of these items, and only they are ranked"] = document["among_cold"]
    shown_parts: list[RenderableType] = []
    for title, part in parts.items():
        table = _systems(part["metrics"], _RANKED, document["system"], canvas)
        shown_parts += [Text(), Text(title, style="bold"), table, Text(), *_tests(part["tests"])]
    return Group(head, scale, *shown_parts)


def _systems(systems: Mapping[str, Any], shown: Sequence[str], main: str, canvas: Canvas) -> RenderableType:
    table = headed(("", *(_NAMES[name] for name in shown)), right=True)
    for name in sorted(systems, key=lambda name: -(systems[name]["ndcg@10"]["value"] or 0.0)):
        cells = [_interval(systems[name][metric], canvas) for metric in shown]
        table.add_row(name, *cells, style="bold" if name == main else "")
    return table


def _tests(tests: Mapping[str, Any]) -> Iterator[RenderableType]:
    return (Text(_tested(name, found)) for name, found in tests.items())


def ablation_view(document: Mapping[str, Any]) -> RenderableType:
    """What `evaluate --ablation` shows: a row for each variant of the recipe, and what the first one has more."""
    return Drawing(lambda canvas: _ablation(document, canvas))


def _ablation(document: Mapping[str, Any], canvas: Canvas) -> RenderableType:
    variants = document["variants"]
    first = next(iter(variants.values()))
    drawn = "auc" in first
    shown, lost = (("auc", "hr@5", "mrr@5"), "hr@5") if drawn else (_RANKED, "ndcg@10")
    table = headed(("", *(_NAMES[name] for name in shown), f"{_NAMES[lost]} lost", "read"), right=True)
    for number, (name, one) in enumerate(variants.items()):
        intervals = (_interval(one[metric], canvas) for metric in shown)
        cells = [*intervals, _loss(one, lost, number), f"{one['summarised']:.1f}"]
        table.add_row(name, *cells, style="" if number else "bold")
    head = f"The language model alone, {document['users']:,} users. Per cent, ± half of the 95% interval."
    tables: list[RenderableType] = [
        canvas.text(head), Text("read: how many interactions are summarised, on average."), Text(), table
    ]  # fmt: skip
    titles = {"recommended": "What is recommended", "cold": "The same, asked for items that nothing is known of",
              "warm": "The same, asked for other items"}  # fmt: skip
    for part, title in titles.items():
        if part in first:
            tables += [Text(), Text(f"{title}:"), Text(), _recommended(variants, part, canvas, drawn=drawn)]
    return Group(*tables)


def _recommended(variants: Mapping[str, Any], part: str, canvas: Canvas, *, drawn: bool) -> RenderableType:
    shown = ("hr@5", "ndcg@10") if drawn else _RANKED
    table = headed(("", *(_NAMES[name] for name in shown), *(f"{_NAMES[name]} lost" for name in shown)), right=True)
    for number, (name, variant) in enumerate(variants.items()):
        one = variant[part]
        intervals = (_interval(one[metric], canvas) for metric in shown)
        cells = [*intervals, *(_loss(one, metric, number) for metric in shown)]
        table.add_row(name, *cells, style="" if number else "bold")
    return table


def calibration_view(document: Mapping[str, Any]) -> RenderableType:
    """What `calibrate` shows: what recall and answers are worth, alone and together, and how they are weighed now."""
    return Drawing(lambda canvas: _calibration(document, canvas))


def _calibration(document: Mapping[str, Any], canvas: Canvas) -> RenderableType:
    weight = f"score = answer + {document['fused']['recall']:.1f} x recall ({document['recall']})"
    if "mrr" not in document:
        return Text(f"Nothing is fitted to this workspace now: {weight}.")
    head = (
        f"{document['users']:,} users, {document['questions']:,} questions; {document['hidden']:,} of the users took "
        "an item that was hidden as if nobody had. MRR: the mean of 1 / the rank of what was taken among the "
        "candidates; ± half of the 95% interval."
    )
    table = headed(("", "MRR"), right=True)
    names = {"recall": "recall alone", "answers": "the model's answers alone", "both": "both, as fitted to other users"}
    for way, name in names.items():
        table.add_row(name, _interval(document["mrr"][way], canvas))
    before = f"Now {weight}; before, it was {document['before']['recall']:.1f}."
    return Group(canvas.text(head), Text(), table, Text(), Text(before))


def _loss(one: Mapping[str, Any], metric: str, number: int) -> str:
    lost = one["lost"][metric]
    return f"{100 * lost['value']:.1f} ({_p(lost['p'])})" if number else ""


def _interval(metric: Mapping[str, Any], canvas: Canvas) -> str:
    low, high = metric["ci95"]
    if metric["value"] is None:
        return "-"
    return canvas.text(f"{100 * metric['value']:.1f} ± {50 * (high - low):.1f}").plain


def _tested(name: str, found: Mapping[str, Any]) -> str:
    """One paired comparison in words."""
    parts = [
        f"{metric} {100 * one['value']:+.2f} ({_p(one['p'])})"
        for metric, one in found.items()
        if one["value"] is not None and metric in ("auc_per_user", "hr@5", "mrr@5", "hr@10", "ndcg@10")
    ]
    return f"{name}: {', '.join(parts)}"


def _p(value: float) -> str:
    """A p of .0002 is not zero, and is not printed so."""
    return f"p {value:.3f}" if value >= 0.001 else "p <0.001"
