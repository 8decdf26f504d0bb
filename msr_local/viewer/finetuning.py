"""What `finetune` shows: the training set before a run, and what came of it after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from ..text import printable
from .curve import Point, curve_view
from .tables import headed

_MEASURED = {
    "before": "before training",
    "after": "after training",
    "merged": "merged, {kind}",
    "recall": "recall alone",
    "fused": "after training, with recall",
}


def questions_view(document: Mapping[str, Any]) -> RenderableType:
    """The sizes of the training set, how it was split, and its first prompts with their answers."""
    table = headed(("", "questions", "positives", "negatives", "users"), right=True)
    for part in ("train", "validation"):
        table.add_row(part, *(f"{document[part][key]:,}" for key in ("rows", "yes", "no", "users")))
    split = document["split"]
    cut = {
        "time": f"Validation: from {split['validation_from']}. Test: from {split['test_from']}.",
        "order": "Validation: the last interaction but one of each user. Test: the last one.",
        "users": "Validation: a tenth of the users. Test: another tenth.",
    }[split["kind"]]
    tokens = ", ".join(f"{name} {value:,}" for name, value in document["tokens"].items())
    shortened = f"{document['history_shortened']:,} histories, {document['descriptions_shortened']:,} descriptions"
    facts = Text(f"{cut}\nTokens of a question: {tokens}.\nShortened to fit: {shortened}.")
    parts: list[RenderableType] = [table, facts]
    for number, row in enumerate(document["rows"], start=1):
        # Line by line: a prompt's line ends are ours, all else in it is data.
        prompt = "\n".join(printable(line) for line in row["prompt"].split("\n"))
        parts += [Rule(f"question {number}, {row['tokens']} tokens", style="dim"), Text(prompt + row["completion"])]
    return Group(*parts)


def outcome_view(document: Mapping[str, Any], steps: Sequence[Point]) -> RenderableType:
    """The learning curve, AUC before and after, how exactly the exported files answer, and what to do with them."""
    metrics, files = document["metrics"], document["files"]
    auc = headed(("validation AUC of p(yes)", "", "95% interval"))
    for name, label in _MEASURED.items():
        value, (low, high) = metrics[name]["auc"]["value"], metrics[name]["auc"]["ci95"]
        cells = ("-", "-") if value is None else (f"{value:.3f}", f"{low:.3f} to {high:.3f}")
        auc.add_row(label.format(kind=files["merged"]["quantisation"]), *cells)
    same = headed(("exported file", "median difference", "largest", "rank correlation", "size"), right=True)
    for form in ("adapter", "merged"):
        one, file = document["parity"][form], files[form]
        numbers = (f"{one[key]:.4f}" for key in ("median_dz", "max_dz", "rank_correlation"))
        same.add_row(f"{form}, {file['quantisation']}", *numbers, f"{file['bytes'] / 1e6:.0f} MB")
    gap = metrics["calibration_error"]
    scaled = "" if gap.get("fused") is None else f", {gap['fused']:.3f} of the calibrated score"
    last = (
        f"Calibration error {gap['before']:.3f} of p(yes){scaled}.",
        f"Adapter {document['name']} is registered {'and active' if document['active'] else 'but not active yet'}.",
        f"Curve: {document['curve'] or 'not drawn'}",
    )
    compared = Text("Log-odds in llama.cpp, compared with those of the trained model:")
    return Group(curve_view(steps), Text(), auc, Text(), compared, same, Text(), Text(" ".join(last)))
