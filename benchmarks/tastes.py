"""Whether the language model earns its place where everybody's taste is known: the tables of benchmarks/tastes.md.

    python -m benchmarks.tastes --data ../shared/data --work work/tastes shop second fashion
    python -m benchmarks.tastes --learn --variant no-captions --variant shuffled-captions shop
    python -m benchmarks.tastes --crowd 40 --variant no-captions second  # a shop that opened: few have bought anything
    python -m benchmarks.tastes --crowd 40 --shops 2 second  # two such shops, each with other shoppers

Each name is a world of `benchmarks.worlds`. Its pictures are captioned in a workspace of the work folder, which keeps
all answers as well: a run that was stopped goes on where it was. Each shopper's last purchase, which was held back, is
then looked for among all items that the shopper has not bought, and the ten best are compared with what the shopper is
known to like now. Writes tastes/NAME.json (NAME-few.json with --crowd, NAME-learned.json with --learn) and the page;
without names, the page alone.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from msr_local.arrays import Vector
from msr_local.catalogue.ingest import ingest
from msr_local.evaluation.metrics import Estimate, auc_estimate, mean_estimate
from msr_local.evaluation.ranking import paired
from msr_local.models.choice import Asking, cast
from msr_local.progress import Progress
from msr_local.recipe.explanations import explain
from msr_local.recipe.recommender import Recommender
from msr_local.store import histories, results
from msr_local.store.workspace import Workspace

from . import worlds
from .reliability.record import commit
from .worlds import World

RESULTS = Path(__file__).with_suffix("")
PAGE = Path(__file__).with_suffix(".md")
VARIANTS = ("no-captions", "shuffled-captions")
TOP = 10
METRICS = {"hr@10": "HR@10", "ndcg@10": "NDCG@10", "taste": "to their taste"}
_LATEST = 8  # purchases whose attributes are counted
Lists = dict[str, dict[str, list[str]]]  # by way of ranking: {user: the ten best items}
Rows = dict[str, list[tuple[float, bool, str]]]  # by kind of part: what it speaks for an item, whether it should, user


class Bench:
    """A world in the work folder, and its workspaces: one with the captions, and a copy of it for each variant."""

    def __init__(self, name: str, work: Path, data: Path, options: argparse.Namespace, shop: int = 0) -> None:
        self.name, self.options, self.files = name, options, work / name / "world"
        self.world = worlds.write(name, self.files, data)
        self.asking = Asking(adapter=options.adapter)
        self.log = self.files / "interactions.csv"
        crowd = list(self.world.people)
        if options.crowd:
            crowd = crowd[shop * options.crowd :][: options.crowd]
            self.log = _of_few(self.log, crowd)
        parts = (self.files / "items.csv", self.log, self.files / worlds.TRUTH)
        self._home = work / name / sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:8]
        self.users = crowd[: options.users]

    def captioned(self) -> None:
        """Read the files and caption the pictures."""
        with Workspace(self._home) as workspace:
            ingest(workspace, self.files / "items.csv", self.log)
            with self._recommender(workspace, "") as recommender:
                made = recommender.captions.make()
        if made.failed:
            print(f"{len(made.failed)} pictures have no caption: {made.failed[0][1]}", file=sys.stderr)

    def _recommender(self, workspace: Workspace, variant: str) -> Recommender:
        found = cast(workspace, self.asking)
        if variant == "no-captions":
            found = replace(found, recipe=replace(found.recipe, name="no-image", caption=False, image=False))
        return Recommender(workspace, found, progress=_teller(f"{self.name} {variant}"))

    def opened(self, variant: str) -> tuple[Workspace, Recommender]:
        """The workspace of a variant, with its captions as they should be and, with --learn, its recall learned."""
        with Workspace(self._home) as workspace, self._recommender(workspace, "") as recommender:
            made_by = recommender.captions.settings
        kind = "-".join(
            [self._home.name, made_by[:8], variant or "whole", *(["learned"] if self.options.learn else [])]
        )
        home = self._home.with_name(kind)
        if not (home / "msr.db").exists():
            _copy(self._home, home, made_by if variant == "shuffled-captions" else "")
        workspace = Workspace(home)
        recommender = self._recommender(workspace, variant)
        if self.options.learn:
            recommender.learn()
        return workspace, recommender


def _of_few(log: Path, users: Sequence[str]) -> Path:
    """A file beside `log` with the purchases of these shoppers alone."""
    head, *lines = log.read_text(encoding="utf-8").splitlines()
    few, kept = log.with_name(f"interactions-{users[0]}-{len(users)}.csv"), {*users}
    few.write_text("\n".join([head, *(line for line in lines if line.split(",")[0] in kept)]) + "\n", encoding="utf-8")
    return few


def _copy(home: Path, other: Path, shuffle: str) -> None:
    """A copy of a workspace; the captions with the settings `shuffle` each go to another item, as if made for it."""
    part = other.with_name(other.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    shutil.copyfile(home / "msr.db", part / "msr.db")  # whole: the last one who closes it merges its log
    if shuffle:
        with Workspace(part) as workspace, workspace.write():
            shuffled(workspace, shuffle)
    part.replace(other)


def shuffled(workspace: Workspace, settings: str) -> None:
    """Give each item that has a caption another one's."""
    kept = results.captions(workspace, settings)
    order = sorted(kept)
    random.Random("captions").shuffle(order)
    for item, (one, other) in zip(histories.items(workspace, order), _around(order), strict=True):
        assert item.item_id == one
        results.save_caption(workspace, item, settings, kept[one][0], kept[other][1], "shuffled")


def _around(order: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(order, [*order[1:], *order[:1]], strict=True))


def run(name: str, work: Path, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about a world, as a document."""
    benches = [Bench(name, work, data, options, shop) for shop in range(options.shops)]
    world, users = benches[0].world, [user for bench in benches for user in bench.users]
    lists: Lists = defaultdict(dict)
    rows: Rows = defaultdict(list)
    for bench in benches:
        bench.captioned()
        workspace, recommender = bench.opened("")
        with workspace, recommender:
            _add(lists, asked(bench, recommender))
            _add(lists, known(world, workspace, bench.users))
            evidence(bench, recommender, rows)
            learned = results.learned_recall_facts(workspace)
            model = recommender.cast.to_json()
    explained = {kind: _auc(found) | {"shoppers": len({row[2] for row in found})} for kind, found in rows.items()}
    whole = {way: per_user(world, ranked, users) for way, ranked in lists.items()}
    document: dict[str, Any] = {
        "world": name,
        "commit": commit(),
        "items": len(world.items),
        "users": len(users),
        "crowd": options.crowd or len(world.people),
        "shops": options.shops,
        "candidates": options.candidates,
        "learned": learned if options.learn else None,
        "model": {part: model[part] for part in ("sha256", "adapter", "adapter_sha256")},
        "rows": _estimates(whole),
        "tests": {
            f"recommended - {other}": _tests(whole["recommended"], whole[other])
            for other in ("recall alone", "attribute counting")
        },
        "variants": {},
        "evidence": explained,
    }
    for variant in options.variant:
        without: Lists = defaultdict(dict)
        for bench in benches:
            workspace, recommender = bench.opened(variant)
            with workspace, recommender:
                _add(without, asked(bench, recommender))
        found = {way: per_user(world, ranked, users) for way, ranked in without.items()}
        lost = {way: _tests(whole[way], found[way]) for way in found}
        document["variants"][variant] = {"rows": _estimates(found), "lost": lost}
    return document


def _add(lists: Lists, more: Lists) -> None:
    for way, ranked in more.items():
        lists[way].update(ranked)


def _estimates(found: Mapping[str, Mapping[str, Vector]]) -> dict[str, Any]:
    return {
        way: {metric: mean_estimate(values).to_json() for metric, values in metrics.items()}
        for way, metrics in found.items()
    }


def _tests(one: Mapping[str, Vector], other: Mapping[str, Vector]) -> dict[str, Any]:
    return {metric: paired(one[metric], other[metric]).to_json() for metric in METRICS}


# ---- the ten best, by each way


def asked(bench: Bench, recommender: Recommender) -> Lists:
    """What is recommended, and what recall alone would recommend."""
    lists: Lists = {"recommended": {}, "recall alone": {}}
    if recommender.recipe.summary:  # side by side, which takes less time than one by one
        people = ((user, recommender.history(user)) for user in bench.users)
        for done, _ in enumerate(recommender.preferences.chains(people), 1):
            recommender.progress("summaries", done, len(bench.users))
    for done, user in enumerate(bench.users):
        recommender.progress("shoppers", done, len(bench.users))
        seen = [step.item.item_id for step in recommender.history(user)]
        ranked = recommender.recommend(user, TOP, bench.options.candidates).items
        lists["recommended"][user] = [one.item_id for one in ranked]
        recalled = recommender.recall.now().candidates(seen, TOP)
        lists["recall alone"][user] = [one.item_id for one in recalled]
    return lists


def known(world: World, workspace: Workspace, users: Sequence[str]) -> Lists:
    """The ways to rank that ask nothing: popularity, and two that know the truth about the items or the shoppers."""
    log = histories.log(workspace)
    taken = Counter(log.item_ids[item] for item in log.items.tolist())
    popular = sorted(world.items, key=lambda item: (-taken[item], item))
    lists: Lists = {"popularity": {}, "attribute counting": {}, "who knows the taste": {}}
    for user in users:
        seen = [step.item.item_id for step in histories.history(workspace, user)]
        left = [item for item in popular if item not in seen]
        latest = [world.items[item] for item in seen[-_LATEST:]]
        shared = {
            item: sum(world.items[item][name] == value for one in latest for name, value in one.items())
            for item in left
        }
        wish = world.people[user].tastes[-1]
        lists["popularity"][user] = left[:TOP]
        lists["attribute counting"][user] = sorted(left, key=lambda item: -shared[item])[:TOP]
        lists["who knows the taste"][user] = sorted(left, key=lambda item: not world.fits(item, wish))[:TOP]
    return lists


def per_user(world: World, ranked: Mapping[str, Sequence[str]], users: Sequence[str]) -> dict[str, Vector]:
    """Each metric of `METRICS` for each of the users."""
    rows = []
    for user in users:
        one, items = world.people[user], ranked[user]
        gain = 1 / np.log2(2 + items.index(one.last)) if one.last in items else 0.0
        fit = float(np.mean([world.fits(item, one.tastes[-1]) for item in items]))
        rows.append((float(gain > 0), gain, fit))
    return dict(zip(METRICS, np.array(rows, float).T, strict=True))


# ---- evidence


def evidence(bench: Bench, recommender: Recommender, rows: Rows) -> None:
    """Add the evidence's numbers: is a part that names the present taste what speaks for an item that is to it?

    Of each shopper's candidates the best that is to the present taste and the best that is not are explained. A line of
    the history names the taste if its item is to it, and the summary if its words do.
    """
    world, options = bench.world, bench.options
    users = bench.users[: options.evidence]
    for done, user in enumerate(users):
        recommender.progress("explained", done, len(users))
        wish, history = world.people[user].tastes[-1], recommender.history(user)
        ranked = [one.item_id for one in recommender.recommend(user, options.candidates, options.candidates).items]
        recent = history[-recommender.recipe.recent :] if recommender.recipe.recent else []
        for fits in (True, False):
            item = next((one for one in ranked if world.fits(one, wish) == fits), None)
            if item is None:
                continue
            told = explain(recommender, user, item, TOP, options.candidates)
            lines = [one for one in told.evidence if one.kind == "history"]
            for line, step in zip(lines, recent, strict=True):
                names = world.fits(step.item.item_id, wish)
                rows["lines"].append((line.delta_log_odds, names and fits, user))
                if fits:
                    rows["lines, of items to their taste only"].append((line.delta_log_odds, names, user))
            summary = told.timeline[-1].summary if told.timeline else ""
            for part in told.evidence:
                if part.kind == "summary":
                    rows["summary"].append((part.delta_log_odds, fits and world.names(summary, wish), user))


def _auc(rows: Sequence[tuple[float, bool, str]]) -> dict[str, Any]:
    scores, truth = (np.array([row[k] for row in rows], float) for k in (0, 1))
    found: Estimate = auc_estimate(scores, truth, [row[2] for row in rows])
    return {"auc": _finite(found), "parts": len(rows), "true": int(truth.sum())}


def _finite(found: Estimate) -> dict[str, Any] | None:
    return found.to_json() if np.isfinite(found.value) else None


# ---- the page


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of all results."""
    lines = [
        "# Tastes that are known",
        "",
        "Made by `python -m benchmarks.tastes` (its docstring says how) from the documents in `tastes/`, in the worlds",
        "of `benchmarks.worlds`. Each shopper's last purchase, held back, is looked for among all items not bought",
        "before; what is to their taste is the share of the ten best that is to the shopper's present taste. Per cent,",
        "with 95% intervals (bootstrap over shoppers); p is that of the paired randomisation test. Attribute counting",
        f"is told the true attributes of all items, and counts how many of them the latest {_LATEST} purchases have.",
    ]  # fmt: skip
    for name, document in found.items():
        lines += ["", *_section(name, document)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _section(name: str, document: Mapping[str, Any]) -> list[str]:
    model, learned = document["model"], document["learned"]
    adapter = f"{model['adapter'] or 'none'} {(model['adapter_sha256'] or '')[:12]}".rstrip()
    recall = (
        "" if learned is None else f" Recall is learned{'' if learned['used'] else ', but not used: it is no better'}."
    )
    lines = [
        f"## {name}",
        "",
        f"Model {model['sha256'][:12]}, adapter {adapter}. {document['items']} items, {document['users']} shoppers "
        f"{_whose(document)}; {document['candidates']} candidates at most are asked about.{recall} "
        f"Made at {document['commit'] or 'a release'}.",
        "",
        "| | " + " | ".join(METRICS.values()) + " |",
        "| --- |" + " --- |" * len(METRICS),
    ]
    rows = dict(document["rows"])
    for variant, one in document["variants"].items():
        rows |= {f"{way}, {variant.replace('-', ' ')}": metrics for way, metrics in one["rows"].items()}
    for way, metrics in rows.items():
        lines.append(f"| {way} | " + " | ".join(_told(metrics[metric]) for metric in METRICS) + " |")
    lines.append("")
    lines += [f"{pair}: {_tested(tests)}." for pair, tests in document["tests"].items()]
    for variant, one in document["variants"].items():
        lines += [f"Lost with {variant.replace('-', ' ')}, {way}: {_tested(one['lost'][way])}." for way in one["lost"]]
    if document["evidence"]:
        lines += [
            "",
            "| evidence: does what names the present taste speak for what is to it? | AUC | parts | true | shoppers |",
            "| --- | --- | --- | --- | --- |",
        ]  # fmt: skip
    for kind, one in document["evidence"].items():
        auc = _told(one["auc"]) if one["auc"] else "-"
        lines.append(f"| {kind} | {auc} | {one['parts']} | {one['true']} | {one['shoppers']} |")
    return lines


def _whose(document: Mapping[str, Any]) -> str:
    """Of whom the purchases are known."""
    crowd, shops = document["crowd"], document.get("shops", 1)
    if shops == 1:
        return f"of {crowd} whose purchases are known"
    return f"of {shops} shops, in each of which the purchases of {crowd} are known"


def _told(metric: Mapping[str, Any]) -> str:
    low, high = metric["ci95"]
    return f"{100 * metric['value']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _tested(tests: Mapping[str, Any]) -> str:
    return ", ".join(f"{METRICS[metric]} {100 * one['value']:+.1f} (p {one['p']:.4f})" for metric, one in tests.items())


def page() -> str:
    """The page of all results that are kept."""
    names = [name + suffix for name in worlds.NAMES for suffix in ("", "-few", "-learned")]
    found = {name: RESULTS / f"{name}.json" for name in names}
    return markdown(
        {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}
    )


def _teller(about: str) -> Progress:
    """Progress on stderr, at most every five seconds."""
    last = 0.0

    def tell(stage: str, done: int, total: int, detail: str = "") -> None:
        nonlocal last
        if stage in ("captions", "summaries", "shoppers", "explained") and time.monotonic() - last > 5:
            last = time.monotonic()
            print(
                f"{time.strftime('%H:%M:%S')} {about.strip()}: {stage} {done} of {total}", file=sys.stderr, flush=True
            )

    return tell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("work/tastes"))
    parser.add_argument("--learn", action="store_true", help="fit recall to the histories first")
    parser.add_argument("--variant", action="append", default=[], choices=VARIANTS, help="measure what is lost so, too")
    parser.add_argument("--users", type=int, help="recommend to so many shoppers only")
    parser.add_argument("--crowd", type=int, metavar="USERS", help="only the purchases of so many shoppers are known")
    parser.add_argument("--shops", type=int, default=1, help="with --crowd: so many shops, each with other shoppers")
    parser.add_argument("--evidence", type=int, default=100, metavar="USERS", help="shoppers to explain for")
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--adapter", help="another recommender than the shipped one, or none")
    parser.add_argument("--print", action="store_true", help="show the tables; write nothing")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(worlds.NAMES)}")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(worlds.NAMES)):
        parser.error(f"no such world: {', '.join(unknown)}")
    for name in options.names:
        called = name + "-few" * bool(options.crowd) + "-learned" * options.learn
        made = run(name, options.work, options.data, options)
        if options.print:
            print(markdown({called: made}))
        else:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{called}.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    if not options.print:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
