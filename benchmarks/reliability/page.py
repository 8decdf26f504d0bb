"""Put the results of all scripts into docs/reliability.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import ROOT, record

PAGE = ROOT / "docs" / "reliability.md"
Found = Mapping[str, Any]


def render(page: str, folder: Path = record.RESULTS) -> str:
    """The page with each part as its results say."""
    for name, part in PARTS.items():
        found = record.kept(name, folder)
        text = f"Not measured yet: `python -m benchmarks.reliability {name}`." if found is None else part(found)
        marks = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        page = re.sub(f"{marks[0]}.*?{marks[1]}", text.join(marks).replace("\\", r"\\"), page, flags=re.DOTALL)
    return page


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _with(found: Found) -> str:
    return f"{found['machine']}, {found['date']}, at {found['commit'] or 'a release'}, seed {found['seed']}."


def kills(found: Found) -> str:
    """A row a stage, and their sum."""
    counted = ("kills", "lost", "doubled", "unsound", "half files", "failed", "other ends")
    stages: Mapping[str, Found] = found["stages"]
    rows = [[name, f"{one['seconds']:.1f}", *(one[key] for key in counted)] for name, one in stages.items()]
    total = [sum(one[key] for one in stages.values()) for key in counted]
    head = ("stage", "seconds undisturbed", "kills", "rows lost", "rows doubled", "databases unsound", "half files",
            "commands failed", "other ends")  # fmt: skip
    older: dict[str, list[str]] = {}
    for name, one in stages.items():
        if (commit := one.get("commit", found["commit"])) != found["commit"]:
            older.setdefault(commit, []).append(name)
    told = "".join(f" At {commit}: {', '.join(names)}." for commit, names in older.items())
    return f"{_with(found)}{told}\n\n{_table(head, [*rows, ['**all**', '', *total]])}"


def fuzz(found: Found) -> str:
    """A row a reader, and what became of the pictures."""
    counted = ("rows", "damaged", "taken", "duplicates", "rejected", "files refused", "lost", "silent")
    rows = [[name, *(one.get(key, 0) for key in counted)] for name, one in found["readers"].items()]
    head = ("reader", "rows", "of them damaged", "taken", "duplicates", "rejected", "files refused",
            "without outcome", "without reason")  # fmt: skip
    seen = found["pictures"]
    return (
        f"{_with(found)} Crashes: {len(found['crashes'])}.\n\n{_table(head, rows)}\n\n"
        f"Damaged pictures: {seen['pictures']:,}; usable {seen['usable']:,}, rejected {seen['rejected']:,}, "
        f"without outcome {seen['lost']:,}, without reason {seen['silent']:,}."
    )


def load(found: Found) -> str:
    """What was asked, what went wrong, and the words that errors had."""
    names = {
        "requests": "requests", "right": "right answers", "wrong": "wrong answers, or none",
        "without words": "errors without words", "went away": "clients that went away",
        "engine killed": "times the engine's process was killed", "times locked": "times the database was locked",
        "times full": "times the disk was full", "answered meanwhile": "requests answered while locked or full",
        "rows posted": "interactions that were said to be stored", "rows lost": "of them lost",
        "rows doubled": "of them doubled", "half a post": "requests stored by halves", "unsound": "databases unsound",
    }  # fmt: skip
    rows = [[says, found.get(key, 0)] for key, says in names.items()]
    errors = [[words, count] for words, count in sorted(found["errors"].items(), key=lambda one: -one[1])]
    return (
        f"{_with(found)} {found['minutes']:.1f} minutes, {found['clients']} clients.\n\n"
        f"{_table(('what', 'count'), rows)}\n\n{_table(('error, as it was told', 'times'), errors)}"
    )


def injection(found: Found) -> str:
    """A row a border."""
    names = {
        "chat": ("chat control, prompt structure", f"{found['prompts']:,} prompts"),
        "terminal": ("terminal", f"{found['screens']:,} screens, {found['documents']:,} JSON documents"),
        "html": ("HTML", f"{found['pages']:,} pages"),
        "sql": ("SQL", "the tables, and each id in them"),
        "paths": ("paths", "all files read or made"),
    }
    rows = [[says, seen, found["through"][key]] for key, (says, seen) in names.items()]
    head = ("border", "looked through", "came through")
    return f"{_with(found)} {found['strings']:,} strings.\n\n{_table(head, rows)}"


def million(found: Found) -> str:
    """Seconds, memory, and what should be 0."""
    rows = [
        ["interactions", found["rows"]], ["of them bad", found["bad"]], ["seconds", found["seconds"]],
        ["peak memory, MB", round(found["peak_bytes"] / 1e6)], ["stored", found["stored"]],
        ["rejected, each with its reason", found["rejected"]], *found["wrong"].items(),
    ]  # fmt: skip
    return f"{_with(found)}\n\n{_table(('what', 'count'), rows)}"


def pleading(found: Found) -> str:
    """How far it moves z by place, by kind of words, and under each way of damping."""
    head = ("pairs", "mean shift of z [95%]", "mean size", "to yes", "to no", "places climbed [95%]", "went up")

    def row(name: str, one: Found) -> list[object]:
        shift, climbed = one["shift"], one["climbed"]
        return [
            name, one["pairs"], _interval(shift), f"{one['mean_size']:.2f}", f"{one['to_yes']:.1%}",
            f"{one['to_no']:.1%}", _interval(climbed), f"{one['went_up']:.1%}",
        ]  # fmt: skip

    tables = [
        _table((name, *head), [row(key, one) for key, one in found[part].items()])
        for name, part in (("pleads in the", "where"), ("words", "kinds"), ("damped", "damping"))
    ]
    tables[0] += "\n" + "\n".join(_table((), [row("**all**", found["all"])]).splitlines()[2:])
    return (
        f"{_with(found)} Recommender: {found['recommender']}. {found['pairs']:,} pairs of {found['users']:,} shoppers; "
        f"z has a standard deviation of {found['spread']:.2f}.\n\n" + "\n\n".join(tables)
    )


def _interval(one: Found) -> str:
    low, high = one["ci95"]
    return f"{one['value']:+.2f} [{low:+.2f}, {high:+.2f}]"


PARTS: Mapping[str, Callable[[Found], str]] = {
    "kills": kills, "fuzz": fuzz, "load": load, "injection": injection, "million": million, "pleading": pleading,
}  # fmt: skip
