"""Do the summaries follow people whose taste changes? Measured on people who were held out of training.

    python -m embedded.drift --adapter adapters/summariser/adapter.gguf --users 12

The real engine writes them, from the shipped templates, block by block as `Preferences` does. With `--adapter none`
the plain model writes, with `--adapter rule` the rule that made the training data: the best there is to reach.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import SUMMARY, Engine, EngineConfig, Writing
from msr_local.evaluation.metrics import mean_estimate
from msr_local.models import embedded
from msr_local.recipe.descriptions import describe
from msr_local.recipe.preferences import MAX_TOKENS, REPEAT_PENALTY

from .shoppers import NOISE, History, People
from .summaries import FIRST, LATER, State, after, named, text
from .summary_rows import Asking

SIZE = 3  # interactions in a block
BEFORE, SINCE = 3, 2  # blocks before the change and after it
RULE, NONE = "rule", "none"

Asked = tuple[History, str | None, Sequence[str], int]  # a person, the summary before, the items and number of a block
Write = Callable[[Sequence[Asked]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Chain:
    """The summaries of one person, block by block."""

    history: History
    summaries: tuple[str, ...]

    @property
    def found(self) -> list[list[str]]:
        """The catalogue's terms that each summary names, in their order."""
        return [named(summary, self.history.catalogue.by_term) for summary in self.summaries]


def people(data: Path, each: int, seed: int) -> list[History]:
    """Held-out people: of the demo's shoppers, and of each source, whose taste changes after `BEFORE` blocks."""
    everybody = People(data, seed, measured=True)
    lengths = [BEFORE * SIZE, SINCE * SIZE]
    simulated = [everybody.one(source, lengths, NOISE) for source in everybody.sources for _ in range(each)]
    return [*everybody.shop[:each], *simulated]


def blocks(history: History) -> list[list[list[str]]]:
    """The terms of each item of each block."""
    steps = history.steps
    return [[list(thing.terms) for thing in steps[at : at + SIZE]] for at in range(0, len(steps), SIZE)]


def chains(histories: Sequence[History], write: Write) -> list[Chain]:
    """The summaries that `write` makes of histories: the first block of all, then the second of all, and so on."""
    made: list[list[str]] = [[] for _ in histories]
    for start in range(0, max((len(history.steps) for history in histories), default=0), SIZE):
        left = [n for n, history in enumerate(histories) if start < len(history.steps)]
        asked = []
        for n in left:
            told = [describe(thing.item, thing.caption) for thing in histories[n].steps[start : start + SIZE]]
            asked.append((histories[n], made[n][-1] if start else None, told, start // SIZE))
        for n, summary in zip(left, write(asked), strict=True):
            made[n].append(summary)
    return [Chain(history, tuple(some)) for history, some in zip(histories, made, strict=True)]


def by_rule() -> Write:
    """The rule itself as the writer."""
    states: dict[int, State] = {}

    def write(asked: Sequence[Asked]) -> list[str]:
        made = []
        for history, _, _, number in asked:
            state = after(states[id(history)] if number else State(), blocks(history)[number])
            states[id(history)] = state
            made.append(text(state, LATER if number else FIRST, None, history.catalogue.adjectives))
        return made

    return write


def config(adapter: Path | None, threads: int | None = None) -> EngineConfig:
    """The embedded model, with an adapter for summaries or without one."""
    return EngineConfig(embedded.prepare(), adapters={SUMMARY: adapter} if adapter else {}, threads=threads)


def by_engine(engine: Engine, penalty: float) -> Write:
    """The model as the writer, greedy, as `Asker.write` has it; with the adapter that it was loaded with."""
    asking = Asking()

    def write(asked: Sequence[Asked]) -> list[str]:
        questions = [asking.question(before, told) for _, before, told, _ in asked]
        said = [
            (before or "").removeprefix(question.opening)
            for question, (_, before, _, _) in zip(questions, asked, strict=True)
        ]
        how = Writing(SUMMARY, MAX_TOKENS, repeat_penalty=penalty, said=said if penalty > 1 else [])
        made = dict(engine.write(questions, how))
        return [_whole(question.opening + made[n].text, made[n].ended) for n, question in enumerate(questions)]

    return write


def _whole(written: str, ended: bool) -> str:
    """What was written on one line; up to its last whole sentence, where the cap cut it off."""
    line = " ".join(written.split())
    return line if ended or "." not in line else line[: line.rindex(".") + 1]


# ---- what is measured


def measures(chains: Sequence[Chain]) -> dict[str, list[float]]:
    """One value for each change of taste or for each person, by measure."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in chains:
        terms = one.found
        for old, new in pairwise(one.history.phases):
            at = -(-new.start // SIZE)  # the first block that is all after the change
            since = terms[at : at + SINCE]
            found["new taste named within a block"].append(float(new.terms[0] in since[0]))
            found["new taste named within two blocks"].append(float(any(new.terms[0] in names for names in since)))
            found["new taste first after two blocks"].append(float(since[-1][:1] == [new.terms[0]]))
            if not _chosen(one.history, old.terms[0], at + len(since) - 1):  # else it has not faded
                found["faded taste not first after two blocks"].append(float(since[-1][:1] != [old.terms[0]]))
        made_up, copied, share = zip(*_between(one, terms), strict=True)
        found["summaries that name what is nowhere"].append(float(np.mean(made_up)))
        found["summaries copied whole"].append(float(np.mean(copied[1:])))
        found["words of the summary before kept"].append(float(np.mean(share[1:])))
        states = list(_by_the_rule(one.history))
        right = [set(names) == set(state.terms) for names, state in zip(terms, states, strict=True)]
        first = [names[:1] == list(state.terms[:1]) for names, state in zip(terms, states, strict=True)]
        found["summaries with exactly the rule's terms"].append(float(np.mean(right)))
        found["summaries with the rule's first term first"].append(float(np.mean(first)))
    return dict(found)


def _chosen(history: History, term: str, block: int) -> bool:
    return any(term in item for item in blocks(history)[block])


def _between(one: Chain, terms: list[list[str]]) -> Iterator[tuple[float, float, float]]:
    """Of each summary: whether it names a term from nowhere, whether it is the one before, how much it keeps."""
    before: list[str] = []
    said: list[str] = []
    for names, summary, start in zip(terms, one.summaries, range(0, len(one.history.steps), SIZE), strict=True):
        things = one.history.steps[start : start + SIZE]
        # Titles too: what stands there was not made up.
        told = named(" ".join(describe(thing.item, thing.caption) for thing in things), one.history.catalogue.by_term)
        there = {*before, *told, *(term for thing in things for term in thing.terms)}
        now = summary.lower().replace(LATER.lower(), "").replace(FIRST.lower(), "").split()
        kept = sum(word in now for word in said) / len(said) if said else 0.0
        yield float(not set(names) <= there), float(now == said), kept
        before, said = names, now


def _by_the_rule(history: History) -> Iterator[State]:
    state = State()
    for block in blocks(history):
        state = after(state, block)
        yield state


def table(chains: Sequence[Chain]) -> dict[str, dict[str, list[float]]]:
    """Each measure with its interval, of all people and by source."""
    sources: dict[str, list[Chain]] = {"all": list(chains)}
    for one in chains:
        sources.setdefault(one.history.source, []).append(one)
    return {
        source: {
            name: [round(value, 3) for value in astuple(mean_estimate(np.array(values, float)))]
            for name, values in measures(some).items()
        }
        for source, some in sources.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True, help=f"a GGUF file, {NONE!r} or {RULE!r}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--users", type=int, default=12, help="of each source")
    parser.add_argument(
        "--penalty", type=float, nargs="+", help="repeat penalties to try; by default as msr-local does"
    )
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--show", type=int, default=1, help="people of each source whose summaries are printed")
    parser.add_argument("--json", type=Path, help="where to write all that was found")
    run(parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    """Write, measure and print."""
    histories = people(arguments.data, arguments.users, arguments.seed)
    found = {}
    ours = [REPEAT_PENALTY if arguments.adapter == NONE else 1.0]  # as `Asker.write` has it
    for penalty in (arguments.adapter != RULE and arguments.penalty) or ours:
        if arguments.adapter == RULE:
            made = chains(histories, by_rule())
        else:
            adapter = None if arguments.adapter == NONE else Path(arguments.adapter)
            with EngineProcess(config(adapter, arguments.threads)) as engine:
                made = chains(histories, by_engine(engine, penalty))
        found[f"repeat penalty {penalty:g}"] = table(made)
        _print(made, penalty, arguments.show)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _print(chains: Sequence[Chain], penalty: float, show: int) -> None:
    shown: dict[str, int] = defaultdict(int)
    for one in chains:
        shown[one.history.source] += 1
        if shown[one.history.source] <= show:
            print(f"\n{one.history.source}: {' -> '.join(' '.join(phase.terms) for phase in one.history.phases)}")
            for number, summary in enumerate(one.summaries):
                things = one.history.steps[number * SIZE : (number + 1) * SIZE]
                print(f"  [{' | '.join(', '.join(thing.terms) for thing in things)}]\n    {summary}")
    print(f"\nrepeat penalty {penalty:g}, {len(chains)} people")
    for source, values in table(chains).items():
        print(f"  {source}")
        for name, (value, low, high) in values.items():
            print(f"    {name:45} {value:.3f}  {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
