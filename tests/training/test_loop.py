"""In what order training sees its questions, how it goes on after a kill, and how it ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.errors import ModelError
from msr_local.training.rows import NO, YES, Row
from msr_local.training.settings import Settings

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytestmark = pytest.mark.usefixtures("one_thread")

from msr_local.training import loop  # noqa: E402
from msr_local.training.backends import Backend, load_trainable  # noqa: E402
from msr_local.training.batches import Answers, Collator, Group  # noqa: E402
from msr_local.training.loop import AlikeLengths, Reported, train  # noqa: E402


@given(st.lists(st.integers(1, 900), max_size=200), st.integers(1, 9), st.integers(0, 3))
def test_a_pass_sees_every_group_once_and_the_next_one_in_another_order(
    lengths: list[int], batch: int, seed: int
) -> None:
    sampler = AlikeLengths(lengths, batch, seed)
    first = list(sampler)
    assert sorted(first) == list(range(len(sampler))) and list(sampler) == first
    assert list(AlikeLengths(lengths, batch, seed)) == first  # a run that goes on sees what it would have seen
    sampler.set_epoch(1)
    assert sorted(sampler) == sorted(first)
    if len(lengths) > 50 * batch:
        assert list(sampler) != first


def test_little_of_a_batch_is_padding() -> None:
    lengths = [100, 900] * 200
    order = list(AlikeLengths(lengths, 8, 0))
    batches = [[lengths[one] for one in order[at : at + 8]] for at in range(0, len(order), 8)]
    assert sum(max(batch) * len(batch) for batch in batches) < 1.1 * sum(
        lengths
    )  # in a random order it would be 1.8 times as much


# ---- from the first step to the last

# 15 steps of 2 moments each; an evaluation and a checkpoint every other step.
SETTINGS = Settings(rank=4, dropout=0.0, batch=4, accumulation=1, epochs=1.5, eval_every=2, learning_rate=0.01)


def asked(moments: int, seed: int) -> list[Row]:
    """Pairs of questions; the last token says which of the two was taken."""
    draw = random.Random(seed)
    made = []
    for number in range(moments):
        common = tuple(draw.randrange(40, 9000) for _ in range(6))
        made += [
            Row(f"u{number}", 3, answer, answer, (("text", f"{seed} {number}"),), (), (*common, end), 0.5)
            for end, answer in ((30, YES), (31, NO))
        ]
    return made


@dataclass(frozen=True)
class Spied(Collator):
    """A collator that counts the moments of its batches."""

    moments: list[int] = field(default_factory=list)

    def __call__(self, groups: Sequence[Group]) -> dict[str, Any]:
        self.moments.append(len(groups))
        return Collator.__call__(self, groups)


@dataclass
class Run:
    """A model that is trained, in one go or until it is killed at a step."""

    base: Path
    settings: Settings = SETTINGS
    reported: list[Reported] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = load_trainable(Backend("peft", ""), self.base, self.settings, cuda=False)
        self.collator = Spied(Answers(100, 200, (100, 101), (200,)), None, None)

    def train(self, folder: Path, kill: int = 0) -> dict[str, Any]:
        def report(one: Reported) -> None:
            self.reported.append(one)
            if one.step == kill:
                raise KeyboardInterrupt

        return train(self.model, asked(20, 0), asked(6, 1), self.collator, self.settings, folder, report)

    @property
    def weights(self) -> dict[str, list[float]]:
        return {name: one.flatten().tolist() for name, one in self.model.named_parameters() if "lora_" in name}


@pytest.mark.parametrize("patience", [1, 20])
def test_killed_after_its_last_step_it_takes_no_more(tiny_llama: Path, tmp_path: Path, patience: int) -> None:
    settings = replace(SETTINGS, patience=patience)
    whole, again = Run(tiny_llama, settings), Run(tiny_llama, settings)
    done = whole.train(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")  # as with its workspace
    assert done["steps"] == (whole.reported[-1].step if patience == 1 else 15) > done["best_step"]
    assert again.train(tmp_path / "there") == done and again.reported == []
    assert again.weights == whole.weights


def test_a_loss_that_is_no_number_ends_it(tiny_llama: Path, tmp_path: Path) -> None:
    run = Run(tiny_llama)
    weight = next(one for name, one in run.model.named_parameters() if "lora_B" in name)
    torch.nn.init.constant_(weight, float("nan"))
    with pytest.raises(ModelError, match=r"loss of step 1 is not a number\. Next: .*--lr"):
        run.train(tmp_path)
    assert run.reported == []


def test_a_second_gpu_changes_nothing(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer would double the batches and cut each in two, its masks and places as well."""

    one = loop.TrainingArguments

    def two(**options: Any) -> Any:
        made = one(**options)
        made._n_gpu = 2  # as it counts them
        return made

    monkeypatch.setattr(loop, "TrainingArguments", two)
    run = Run(tiny_llama, replace(SETTINGS, epochs=0.2))
    run.train(tmp_path)
    assert run.collator.moments[:2] == [2, 2]
