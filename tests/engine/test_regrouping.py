"""An answer does not depend on which others are asked with it, nor on their order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.process import quantise_in_child
from msr_local.engine.types import EngineConfig, Prompt, Text, Writing
from msr_local.models import embedded

PREFIX: Prompt = [Text("The shopper likes quiet films, long walks and the sea, and lately also loud ones. " * 6)]
WORDS = "river winter garden station murder island secret dance summer war ghost train silver letter queen wolf".split()
CLOSE = 0.02  # the most that a log-odds may move where weights are not quantised


def candidates(count: int) -> list[Prompt]:
    rng = random.Random(7)
    return [[Text(f"{' '.join(rng.choices(WORDS, k=rng.randint(1, 30)))}. Yes or no?")] for _ in range(count)]


def regrouped(engine: LlamaEngine, asked: list[Prompt], times: int, most: int) -> float:
    """The largest change of a log-odds over so many random groups in random order."""
    z = [answer.z for answer in engine.log_odds(PREFIX, asked)]
    rng, worst = random.Random(1), 0.0
    for _ in range(times):
        places = rng.sample(range(len(asked)), rng.randint(1, most))
        again = engine.log_odds(PREFIX, [asked[place] for place in places])
        worst = max(worst, *(abs(z[place] - answer.z) for place, answer in zip(places, again, strict=True)))
    return worst


def test_over_500_regroupings(tiny: EngineConfig) -> None:
    engine = LlamaEngine(tiny)
    try:
        assert regrouped(engine, candidates(100), 500, 24) <= CLOSE
    finally:
        engine.close()


def test_over_some_regroupings_with_the_embedded_model() -> None:
    engine = LlamaEngine(EngineConfig(embedded.prepare()))
    try:
        assert regrouped(engine, candidates(20), 12, 6) <= CLOSE
    finally:
        engine.close()


@pytest.fixture(scope="module", params=[("Q8_0", 7), ("Q4_0", 2), ("Q4_K_M", 15), ("Q6_K", 18)], ids=lambda p: p[0])
def quantised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaEngine]:
    """The embedded model in a quantised type, which a larger model would be computed with."""
    name, ftype = request.param
    path: Path = tmp_path_factory.mktemp("quantised") / f"{name}.gguf"
    quantise_in_child(embedded.prepare(), path, ftype=ftype)
    engine = LlamaEngine(EngineConfig(path))
    yield engine
    engine.close()


def test_quantised_weights_answer_the_same_to_the_bit(quantised: LlamaEngine) -> None:
    assert regrouped(quantised, candidates(18), 10, 7) == 0.0


def test_and_write_the_same(quantised: LlamaEngine) -> None:
    asked = candidates(5)
    how = Writing(max_tokens=8)
    alone = [made for one in asked for _, made in quantised.continued(PREFIX, [one], how)]
    made = dict(quantised.continued(PREFIX, asked, how))
    assert [made[place] for place in range(len(asked))] == alone
