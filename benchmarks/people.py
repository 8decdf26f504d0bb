"""People: what a new one costs, everybody at once, and a service. The tables of docs/performance.md about that.

    python -m benchmarks.people                      # all parts at size, hours on two cores
    python -m benchmarks.people --parts serve        # new, everybody or serve: what was measured of the others stays
    python -m benchmarks.people --people 4 --quick   # a few people; nothing is written

`new` asks about people of whom nothing was asked before, twice, in two copies of a workspace: until the list can hardly
change ("enough"), and about all candidates. The order of the two changes from person to person. `everybody` gives the
same people to `recommend --users` and to single commands. `serve` asks a server for lists that it has made before, 50
at once, and looks at its memory. Two invented catalogues: films (title and genres; with --films, those of a MovieLens
folder) and wines (17 columns). Writes people.json beside this file, and prints it as Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msr_local.catalogue.ingest import ingest
from msr_local.hardware import usable_threads
from msr_local.models.choice import Asking, cast
from msr_local.recipe.recommender import Recommender
from msr_local.store import histories
from msr_local.store.workspace import Workspace

RESULT = Path(__file__).with_suffix(".json")
K = 10
AT_ONCE, ROUNDS, REQUESTS = 50, 20, 2_000
PARTS = ("new", "everybody", "serve")
_KINDS = {
    "Red": ("Cabernet", "Merlot", "Syrah", "Tempranillo", "Malbec"),
    "White": ("Chardonnay", "Riesling", "Sauvignon Blanc", "Albariño"),
    "Sparkling": ("Macabeo", "Xarel-lo", "Parellada"),
    "Rosé": ("Grenache", "Cinsault", "Mourvèdre"),
}
_PLACES = {"France": "FR", "Italy": "IT", "Spain": "ES", "Portugal": "PT", "Chile": "CL"}
_DISHES = "Beef Lamb Veal Poultry Pasta Pizza Shellfish Cheese Dessert Pork".split()
_GENRES = "Action Comedy Crime Drama Fantasy Horror Musical Mystery Romance Thriller War Western".split()


# ---- catalogues


def wines(folder: Path, items: int = 3_000, users: int = 600) -> None:
    """Wines with 17 columns, lists as Python writes them among these; people keep to a kind and a country."""
    rng = random.Random("wines")
    rows, groups = [], {}
    for number in range(items):
        kind, place, maker = rng.choice(list(_KINDS)), rng.choice(list(_PLACES)), rng.randrange(items // 8)
        groups.setdefault((kind, place), []).append(number)
        rows.append({
            "item_id": f"w{number}",
            "title": f"{rng.choice(('Reserva', 'Grande Cuvée', 'Selección', 'Vieilles Vignes'))} {number}",
            "Type": kind,
            "Elaborate": rng.choice(("Varietal/100%", "Assemblage/Blend", "Varietal/>75%")),
            "Grapes": str(rng.sample(_KINDS[kind], rng.choice((1, 2)))),
            "Harmonize": str(rng.sample(_DISHES, 4)),
            "ABV": round(rng.uniform(10, 15), 1),
            "Body": rng.choice(("Full-bodied", "Medium-bodied", "Light-bodied")),
            "Acidity": rng.choice(("High", "Medium", "Low")),
            "Code": _PLACES[place],
            "Country": place,
            "RegionID": 1000 + rng.randrange(30),
            "RegionName": f"{place[:4]}aria {rng.choice(('Alta', 'Baja', 'Nova', 'Verde'))}",
            "WineryID": 10_000 + maker,
            "WineryName": f"Domaine {maker}",
            "Website": f"http://www.{maker}.example.com/wines",
            "Vintages": str(list(range(2021, 2021 - rng.randint(20, 60), -1))),
        })  # fmt: skip
    _write(folder, rows, groups, users, rng)


def films(folder: Path, items: int = 4_000, users: int = 600) -> None:
    """Films with a title and genres; people keep to two genres."""
    rng = random.Random("films")
    rows, groups = [], {}
    for number in range(items):
        genres = tuple(sorted(rng.sample(_GENRES, 2)))
        groups.setdefault(genres, []).append(number)
        name = f"The {rng.choice(('Last', 'Quiet', 'Golden', 'Lost'))} {rng.choice(('Road', 'Night', 'House', 'Sea'))}"
        rows.append({
            "item_id": f"f{number}", "title": f"{name} {number} ({rng.randint(1950, 2020)})",
            "genres": "|".join(genres),
        })  # fmt: skip
    _write(folder, rows, groups, users, rng)


def _write(
    folder: Path, rows: Sequence[dict[str, Any]], groups: dict[Any, list[int]], users: int, rng: random.Random
) -> None:
    folder.mkdir(parents=True)
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    tastes = list(groups)
    with (folder / "interactions.csv").open("w", newline="", encoding="utf-8") as file:
        log = csv.writer(file)
        log.writerow(("user_id", "item_id", "timestamp"))
        for user in range(users):
            liked = groups[rng.choice(tastes)]
            for step in range(rng.randint(12, 60)):
                among = liked if rng.random() < 0.7 else range(len(rows))
                place = among[min(int(len(among) * rng.random() ** 2), len(among) - 1)]
                log.writerow((f"u{user}", rows[place]["item_id"], 1_500_000_000 + 86_400 * step + user))


# ---- a new person


def new(homes: Sequence[Path], people: int, asking: Asking) -> dict[str, Any]:
    """Both ways of asking about so many people: seconds, how many were asked about, and how alike the lists are."""
    ways: dict[str, dict[str, list[float]]] = {}
    alike: list[float] = []
    opened = [Workspace(home) for home in homes]
    recommenders = [Recommender(one, cast(one, asking)) for one in opened]
    everyone = [one["user"] for one in histories.users(opened[0])]
    random.Random("people").shuffle(everyone)
    for place, user in enumerate(everyone[: people + 1]):
        lists = {}
        for way in ("enough", "all") if place % 2 else ("all", "enough"):
            found = recommenders[way == "all"].recommend(user, K, miss=0.0 if way == "all" else 0.01)
            lists[way] = {one.item_id for one in found.items}
            if place:  # with the first one, files are read and threads start
                for name in ("recall_s", "summary_s", "score_s", "total_s", "asked", "candidates"):
                    ways.setdefault(way, {}).setdefault(name, []).append(found.timing[name])
        if place:
            alike.append(len(lists["enough"] & lists["all"]))
    for one in (*recommenders, *opened):
        one.close()
    totals = [ways[way]["total_s"] for way in ("enough", "all")]
    return {
        "people": people,
        **{way: {name: statistics.mean(values) for name, values in of.items()} for way, of in ways.items()},
        "times_faster": statistics.median(b / a for a, b in zip(*totals, strict=True)),
        "same_of_ten": statistics.mean(alike),
        "least_of_ten": min(alike),
    }


# ---- everybody


def everybody(home: Path, people: int, threads: int, more: Sequence[str]) -> dict[str, Any]:
    """Users a minute of `recommend --users`, in one process and in several, and of a command for each."""
    with Workspace(home) as workspace:
        everyone = [one["user"] for one in histories.users(workspace)]
    random.Random("everybody").shuffle(everyone)
    everyone = everyone[:people]
    listed = home.parent / "users.txt"
    listed.write_text("\n".join(everyone) + "\n", encoding="utf-8")
    out = str(home.parent / "recs.csv")
    ways: dict[str, Callable[[Path], None]] = {
        "one process": lambda copy: _run(copy, "recommend", "--users", str(listed), "--out", out, "--threads",
                                         str(threads), *more),
        f"{threads} processes of one thread": lambda copy: _run(copy, "recommend", "--users", str(listed), "--out", out,
                                                               "--workers", str(threads), "--threads", "1", *more),
        "a command for each": lambda copy: [
            _run(copy, "recommend", user, "--threads", str(threads), *more) for user in everyone
        ] and None,
    }  # fmt: skip
    found = {}
    for name, act in ways.items():
        copy = home.parent / "copy"
        shutil.copytree(home, copy)
        start = time.perf_counter()
        act(copy)
        found[name] = 60 * people / (time.perf_counter() - start)
        shutil.rmtree(copy)
    return {"people": people, "users_per_minute": found}


def _run(home: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "msr_local", "--quiet", "--home", str(home), *arguments, "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


# ---- a service


def serve(home: Path, threads: int, requests: int, more: Sequence[str]) -> dict[str, Any]:
    """Milliseconds of requests for kept lists, 50 at once, and the server's memory before and after many requests.

    How long a list took to make has no part in it, so the recipe has no summary.
    """
    with Workspace(home) as workspace:
        users = [one["user"] for one in histories.users(workspace, AT_ONCE)]
    command = [sys.executable, "-m", "msr_local", "--home", str(home), "serve", "--port", "0", "--threads",
               str(threads), "--recipe", "history", *more]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            address = next(found.group() for line in server.stderr if (found := re.search(r"http://\S+", line)))
            return asyncio.run(_asked(address, users, requests, server.pid))
        finally:
            server.terminate()


async def _asked(address: str, users: Sequence[str], requests: int, process: int) -> dict[str, Any]:
    took: list[float] = []
    lost = 0
    host, port = address.removeprefix("http://").strip("/").split(":")
    lines: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []  # one for each user, kept open

    async def ask(place: int) -> None:
        nonlocal lost
        reader, writer = lines[place]
        start = time.perf_counter()
        writer.write(f"GET /recommend/{users[place]}?candidates=12 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = re.search(r"content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        took.append(time.perf_counter() - start)
        lost += " 200 " not in head.splitlines()[0]

    async def all_at_once() -> None:
        await asyncio.gather(*map(ask, range(len(users))))

    for place in range(len(users)):  # one after the other: these have to be made
        lines.append(await asyncio.open_connection(host, int(port)))
        await ask(place)
        lines[place][1].close()
    first = statistics.mean(took)
    lines = [await asyncio.open_connection(host, int(port)) for _ in users]
    for _ in range(4):
        await all_at_once()
    before, worked = _memory(process), _worked(process)
    done = len(took)
    took.clear()
    for _ in range(ROUNDS):
        await all_at_once()
    at_once = sorted(took)
    while done + len(took) < requests:
        await all_at_once()
    after, worked = _memory(process), _worked(process) - worked
    for _, writer in lines:
        writer.close()
    return {
        "at_once": len(users), "requests": done + len(took), "lost": lost, "first_s": first,
        "p50_ms": 1000 * at_once[len(at_once) // 2], "p95_ms": 1000 * at_once[int(0.95 * len(at_once))],
        "worked_ms": 1000 * worked / len(took), "memory_before": before, "memory_after": after,
    }  # fmt: skip


def _worked(process: int) -> float:
    """Processor seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(process: int) -> int:
    """Resident bytes of a process, without its engine's."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


# ---- the page


def markdown(found: dict[str, Any]) -> str:
    """The results as the tables of docs/performance.md."""
    lines = []
    if "new" in found:
        part = found["new"]
        lines += [
            f"**A new person** ({_where(part)}; means over {part['people']} people, the first {K} of 100 candidates)",
            "",
            "| catalogue | asked | summary, s | answers, s | all, s | times faster | same of ten (least) |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, one in part["catalogues"].items():
            for way in ("all", "enough"):
                of = one[way]
                gain = f"{one['times_faster']:.2f} | {one['same_of_ten']:.2f} ({one['least_of_ten']:.0f})"
                lines.append(
                    f"| {name} | {way}: {of['asked']:.0f} of {of['candidates']:.0f} | {of['summary_s']:.1f} |"
                    f" {of['score_s']:.1f} | {of['total_s']:.1f} | {gain if way == 'enough' else '1.00 | 10.00'} |"
                )
    if "everybody" in found:
        part = found["everybody"]
        lines += ["", f"**Everybody** ({_where(part)}; {part['people']} users of the films)", ""]
        lines += ["| way | users a minute |", "| --- | --- |"]
        lines += [f"| {way} | {rate:.1f} |" for way, rate in part["users_per_minute"].items()]
    if "serve" in found:
        part = found["serve"]
        lines += [
            "",
            f"**A service** ({_where(part)}): {part['at_once']} requests at once for lists that were made before take "
            f"{part['p50_ms']:.0f} ms (median) and {part['p95_ms']:.0f} ms (95th percentile); {part['lost']} of "
            f"{part['requests']:,} were lost. Each takes {part['worked_ms']:.1f} ms of one core. "
            f"Its memory without the engine was {part['memory_before'] / 1e6:.0f} MB after 200 of them, and "
            f"{part['memory_after'] / 1e6:.0f} MB after all.",
        ]
    return "\n".join(lines).strip()


def _where(part: dict[str, Any]) -> str:
    return f"{part['machine']}, {part['threads']} threads, {part['model']}, {part['date']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--people", type=int, default=200, help="of the part new; the part everybody takes half of it")
    parser.add_argument("--films", type=Path, help="a MovieLens folder")
    parser.add_argument("--catalogues", nargs="+", choices=("films", "wines"), default=("films", "wines"))
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--model", help="as for msr-local; by default the embedded one")
    parser.add_argument("--quick", action="store_true", help="small catalogues; nothing is written")
    options = parser.parse_args()
    from .speed import machine

    about = {
        "date": time.strftime("%Y-%m-%d"), "machine": machine(), "threads": options.threads,
        "model": options.model or "the embedded model",
    }  # fmt: skip
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    if options.quick:
        found = {}

    def keep(part: str, **more: Any) -> None:
        found[part] = {**about, **more}
        if not options.quick:
            RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asking = Asking(threads=options.threads, model=options.model)
        size = {"items": 300, "users": 60} if options.quick else {}
        homes = {}
        for catalogue in options.catalogues:
            files = options.films if catalogue == "films" and options.films else folder / catalogue
            if not files.exists():
                {"films": films, "wines": wines}[catalogue](files, **size)
            homes[catalogue] = folder / f"{catalogue}-home"
            with Workspace(homes[catalogue]) as workspace:
                ingest(workspace, files, min_rating=4 if options.films and catalogue == "films" else None)
        if "new" in options.parts:
            measured = {}
            for catalogue, home in homes.items():
                copies = [folder / f"{catalogue}-{way}" for way in ("enough", "all")]
                for copy in copies:
                    shutil.copytree(home, copy)
                measured[catalogue] = new(copies, options.people, asking)
                keep("new", people=options.people, catalogues=dict(measured))
        first = next(iter(homes.values()))
        more = ["--model", options.model] if options.model else []
        if "everybody" in options.parts:
            keep("everybody", **everybody(first, max(2, options.people // 2), options.threads, more))
        if "serve" in options.parts:
            keep("serve", **serve(first, options.threads, 300 if options.quick else REQUESTS, more))
    print(markdown(found))


if __name__ == "__main__":
    main()
