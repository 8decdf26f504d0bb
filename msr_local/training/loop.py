"""The training itself: transformers' Trainer on our rows, with the AUC of p(yes) as its measure.

Checkpoints are whole or not there: a marker is written into each when everything else is. A run that was
killed goes on from the last whole one, with its optimizer, its place in the data and its random state.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from ..errors import ModelError
from ..evaluation.metrics import auc_estimate
from .batches import Collator, Group, answer_logits, grouped, log_odds, ranking_loss
from .rows import YES, Row
from .settings import Settings

_WHOLE = "whole"  # marks a checkpoint that was written to its end
_EVALUATIONS = 4  # by default, in a run
_WARM_UP = 0.1  # share of the steps
_WINDOW = 32  # batches whose groups are sorted by length together
_ASKED = 8  # questions that an evaluation asks at once, at least


@dataclass(frozen=True, slots=True)
class Reported:
    """What happened at a step: the loss of a training step, or the AUC of an evaluation; None for the other."""

    step: int
    steps: int
    loss: float | None
    auc: tuple[float, float, float] | None  # value and 95% interval
    tokens: int  # seen so far
    seconds: float  # since training was started or went on
    rate: float  # tokens a second, evaluations included
    learning_rate: float | None


def train(
    model: Any,
    rows: Sequence[Row],
    validation: Sequence[Row],
    collator: Collator,
    settings: Settings,
    folder: Path,
    report: Callable[[Reported], None],
) -> dict[str, Any]:
    """Train the LoRA of `model`; the best one by validation AUC is left in it. Goes on from `folder` if it can.

    Returns what was done: steps, the step of the best AUC, tokens, the learning rate and the precision. Raises
    `ModelError` once the loss is no number.
    """
    cuda = collator.device != "cpu"
    half = torch.cuda.is_bf16_supported() if cuda else _fast_bf16()
    groups = grouped(rows)
    lines = max(1, settings.batch // (1 + settings.ratio))  # groups in a batch
    per_epoch = -(-len(groups) // (lines * settings.accumulation))
    steps = max(1, round(per_epoch * settings.epochs))
    every = settings.eval_every or -(-steps // _EVALUATIONS)
    rate = settings.rate(model.num_parameters())
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=lines,
        gradient_accumulation_steps=settings.accumulation,
        max_steps=steps,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(_WARM_UP * steps),
        max_grad_norm=1.0,
        optim="adamw_torch",
        bf16=half,
        logging_steps=1,
        logging_nan_inf_filter=False,  # else a loss that is no number is told as 0
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="auc",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=not cuda,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=False,  # the collator has put them where the model is
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # a batch that is cut in two for two GPUs has its questions in other lines than it says
    trainer = _Trainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=groups,
        eval_dataset=validation,
        callbacks=[EarlyStoppingCallback(settings.patience), _Marker(), _Reporter(report, groups)],
    )
    trainer.ranked, trainer.asked = settings.loss, max(_ASKED, settings.batch)
    trainer.model_accepts_loss_kwargs = False  # our loss is a mean over rows, not over tokens
    last = _last_whole(folder)
    state = TrainerState.load_from_json(str(last / TRAINER_STATE_NAME)) if last else None
    if last and state and state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
        # Killed after its last step: the trainer would take one more.
        best = last.with_name(Path(state.best_model_checkpoint or last).name)  # the workspace may have been moved
        model.load_adapter(str(best), model.active_adapters[0])
    else:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        state = trainer.state
    best_step = Path(state.best_model_checkpoint).name.rpartition("-")[2] if state.best_model_checkpoint else None
    return {
        "steps": state.global_step,
        "planned_steps": steps,
        "best_step": int(best_step or state.global_step),
        "best_auc": state.best_metric,
        "learning_rate": rate,
        "precision": "bfloat16" if half else "float32",
    }


def _fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere it would be slower than float32."""
    try:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except AttributeError:
        return False


def _last_whole(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; what a kill left of others is deleted."""
    for left in folder.glob("checkpoint-*") if folder.exists() else ():
        if not (left / _WHOLE).exists():
            shutil.rmtree(left)
    last = get_last_checkpoint(str(folder)) if folder.exists() else None
    return Path(last) if last else None


class AlikeLengths(torch.utils.data.Sampler[int]):
    """All groups once a pass, in an order of its own, those of a batch about equally long: little is padding."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """The trainer says which pass begins."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng([self.seed, self.epoch])
        order = draw.permutation(len(self.lengths)).tolist()
        batches: list[list[int]] = []
        for start in range(0, len(order), _WINDOW * self.batch):
            some = sorted(order[start : start + _WINDOW * self.batch], key=self.lengths.__getitem__)
            batches += [some[at : at + self.batch] for at in range(0, len(some), self.batch)]
        whole = [batch for batch in batches if len(batch) == self.batch]
        for place in draw.permutation(len(whole)):
            yield from whole[place]
        yield from (index for batch in batches if len(batch) < self.batch for index in batch)


class _Trainer(Trainer):
    """The loss is on the answer alone, or on its rank too (see `Settings.loss`); an evaluation is the AUC of p(yes)."""

    ranked, asked = "answer", _ASKED

    def _get_train_sampler(self, train_dataset: Any = None) -> AlikeLengths:
        lengths = [sum(len(row.ids) for row in group) for group in train_dataset or self.train_dataset]
        return AlikeLengths(lengths, self.args.train_batch_size, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        logits = answer_logits(model, inputs).float()
        loss = torch.nn.functional.cross_entropy(logits, inputs["answers"])
        answers = self.data_collator.answers
        if self.ranked != "answer":
            z = logits[:, list(answers.all_yes)].logsumexp(-1) - logits[:, list(answers.all_no)].logsumexp(-1)
            if self.ranked == "residual":
                z = z + inputs["blend"]
            loss = loss + ranking_loss(z, inputs["groups"], inputs["answers"] == answers.yes)
        return (loss, {"logits": logits}) if return_outputs else loss

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        rows = self.eval_dataset
        with self.compute_loss_context_manager():
            z = log_odds(self.model, rows, self.data_collator, self.asked)
        answers = np.array([float(row.answer == YES) for row in rows])
        estimate = auc_estimate(z, answers, [row.group for row in rows])
        metrics = {"eval_auc": estimate.value, "eval_auc_low": estimate.low, "eval_auc_high": estimate.high}
        self.log(dict(metrics))
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _Marker(TrainerCallback):
    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE).touch()


class _Reporter(TrainerCallback):
    def __init__(self, report: Callable[[Reported], None], groups: Sequence[Group]) -> None:
        self._report = report
        self._each = sum(len(row.ids) for group in groups for row in group) / len(groups)  # tokens
        self._began, self._first = time.monotonic(), 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = time.monotonic()
        self._first = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        logs = logs or {}
        if "loss" not in logs and "eval_auc" not in logs:
            return  # the summary at the end
        if not math.isfinite(logs.get("loss", 0.0)):  # neither will any later one be
            raise ModelError(
                f"training has diverged: the loss of step {state.global_step} is not a number. "
                "Next: the same command with a smaller --lr."
            )
        a_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * self._each
        names = ("eval_auc", "eval_auc_low", "eval_auc_high")
        auc = tuple(logs[name] for name in names) if names[0] in logs else None
        step, seconds = state.global_step, time.monotonic() - self._began
        rate = (step - self._first) * a_step / max(1e-9, seconds)
        tokens, learning_rate = round(step * a_step), logs.get("learning_rate")
        self._report(Reported(step, state.max_steps, logs.get("loss"), auc, tokens, seconds, rate, learning_rate))
