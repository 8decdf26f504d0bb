"""What a workspace holds, which models it can use, and whether all of it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .tables import facts_table, headed, rows_table, shown

_STATES = {"ok": "green", "warning": "yellow", "broken": "bold red"}
_FORMS = {"adapter": "LoRA", "merged": "merged model"}
_LONGEST = 80  # characters of a fact about a model: a chat template has thousands


def users_view(users: Sequence[Mapping[str, Any]]) -> RenderableType:
    """What `users` shows of each user: of times, the day."""
    days = ("first", "last")
    rows = [{name: one and one[:10] if name in days else one for name, one in user.items()} for user in users]
    return rows_table(rows, right=("interactions",))


def items_view(items: Sequence[Mapping[str, Any]]) -> RenderableType:
    """What `items` shows of each item."""
    columns = ("item_id", "title", "interactions", "caption")
    return rows_table([{name: item[name] for name in columns} for item in items], right=("interactions",))


def status_view(document: Mapping[str, Any]) -> RenderableType:
    """What `status` shows: a line for each fact, and what is still to do last."""
    model, adapter, form = document["model"], document["adapter"], document["adapter_form"]
    facts = {name: value for name, value in document.items() if name not in ("adapter_form", "todo")}
    if isinstance(model, Mapping):
        facts["model"] = model["model"] + (f", projector {model['mmproj']}" if model["mmproj"] else "")
    facts["adapter"] = f"{adapter} ({_FORMS[form]})" if adapter else "none: the plain model answers"
    facts["calibrated"] = document["calibrated"] or "no"
    return facts_table(facts | {f"{name} to do": count for name, count in document["todo"].items()})


def ingested_view(document: Mapping[str, Any]) -> RenderableType:
    """What `ingest` shows: how many items, interactions, pictures and captions are new, and how many not."""
    names = ("new", "changed", "unchanged", "duplicate", "low_rated", "rejected")
    counts = {kind: document[kind] for kind in ("items", "interactions")}
    pictures = {"new": document["images"]["usable"], "rejected": document["images"]["rejected"]}
    if any(pictures.values()):
        counts["pictures"] = pictures
    if made := document.get("captions"):
        counts["captions"] = {"new": made["made"], "unchanged": made["present"], "rejected": made["failed"]}
    table = headed(("", *(name.replace("_", " ") for name in names)), right=True)
    for kind, row in counts.items():
        table.add_row(kind, *(f"{row[name]:,}" if name in row else "" for name in names))
    return table


def adapters_view(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """What `adapters list` shows: the table, and below it what is wrong with which adapter."""
    problems = [shown(f"{row['name']}: {row['problem']}") for row in rows if row["problem"]]
    table = rows_table([_adapter(row) for row in rows], right=("size",))
    return Group(table, *([Text(), *problems] if problems else []))


def _adapter(row: Mapping[str, Any]) -> dict[str, str]:
    auc, interval = row["auc"], row["auc_ci95"]
    return {
        "name": row["name"],
        "active": _FORMS.get(row["form"], ""),
        "base": row["base"],
        "recipe": row["recipe"] or "",
        "AUC (95% interval)": f"{auc:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "",
        "size": f"{row['bytes'] / 1e6:,.1f} MB",
        "created": row["created"][:10],
    }


def models_view(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """What `models list` shows: the models on this machine, where they are, and the aliases of others."""
    here = [row for row in rows if row["model"]]
    others = [row for row in rows if not row["model"]]
    places = facts_table({row["name"]: row["model"] for row in here})
    parts: list[RenderableType] = [_models(here), Text(), places]
    if others:
        parts += [Text(), shown("Not here yet; msr-local models pull NAME fetches one:"), Text(), _models(others)]
    return Group(*parts)


def _models(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = rows_table([_model(row) for row in rows], right=("size",))
    table.columns[1].min_width = min(max((len(row["name"]) for row in rows), default=0), 44)
    return table


def _model(row: Mapping[str, Any]) -> dict[str, str]:
    about = "" if row["model"] else "about "
    return {
        "": "*" if row["active"] else "",
        "name": row["name"],
        "size": "" if row["bytes"] is None else f"{about}{row['bytes'] / 1e9:.1f} GB",
        "weights": row["quantisation"] or "",
        "pictures": "yes" if row["sees"] else "no",
        "fits": {True: "yes", False: "no", None: ""}[row["fits"]],
        "licence": row["licence"] or "",
    }


def pulled_view(document: Mapping[str, Any]) -> RenderableType:
    """What `models pull` shows: the files, and below them where the model is."""
    here = "was here" if document.get("model") else "here"
    files = [
        {"file": one["file"], "size": f"{one['bytes'] / 1e6:,.1f} MB", here: "yes" if one["here"] else "no"}
        for one in document.get("files", ())
    ]
    facts = {name: value for name, value in document.items() if name not in ("files", "bytes", "to_download", "used")}
    return Group(rows_table(files, right=("size",)), Text(), facts_table(facts)) if files else facts_table(facts)


def known_view(document: Mapping[str, Any]) -> RenderableType:
    """What `models show` shows: all that is known of a model without loading it."""
    said = {True: "yes", False: "no"}
    known = {name: value for name, value in document.items() if value is not None}
    facts = {name: said[value] if isinstance(value, bool) else value for name, value in known.items()}
    if "bytes" in facts:
        facts["bytes"] = f"{'' if 'model' in known else 'about '}{document['bytes'] / 1e6:,.0f} MB"
    return facts_table({"size" if name == "bytes" else name: value for name, value in facts.items()})


def scan_view(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """What `models scan` shows: the table, and below it what cannot be used and why."""
    table = rows_table(
        [
            {
                "program": row["program"],
                "name": row["name"],
                "size": f"{row['bytes'] / 1e9:.1f} GB",
                "pictures": "yes" if row["sees"] else "no",
                "usable": "no" if row["problem"] else "yes",
                "where": row["model"],
            }
            for row in rows
        ],
        right=("size",),
    )
    problems = [shown(row["problem"]) for row in rows if row["problem"]]
    return Group(table, *([Text(), *problems] if problems else []))


def model_view(facts: Mapping[str, Any]) -> RenderableType:
    """What `models verify` shows: all facts of a loaded model, long ones cut."""
    return facts_table({name: _cut(value) for name, value in facts.items()})


def _cut(value: Any) -> str:
    text = ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def findings_view(findings: Sequence[Mapping[str, str]]) -> RenderableType:
    """What `doctor` shows: a line for each check, with its state in colour."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for one in findings:
        table.add_row(one["check"], Text(one["state"], _STATES[one["state"]]), shown(one["detail"]))
    return table
