"""From a workspace to a registered recommender, stage by stage: questions, training, export, gate, registry.

Each stage leaves a file or folder that is whole or not there; a run that was stopped goes on with the first
stage whose result is missing. Nothing is registered before the engine has been shown to answer as the trained
model does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock, Timeout

from ..engine.types import EngineConfig, Text, TokenEngine
from ..errors import InputError, ModelError
from ..evaluation.metrics import platt
from ..files import sha256, written_whole
from ..hardware import usable_threads
from ..models import registry
from ..models.choice import Asking, cast, embedded_cast
from ..models.manifest import Manifest
from ..models.prepared import to_compute_with
from ..progress import Progress, silent
from ..recall import learning
from ..recall.learned import READING
from ..recipe.recommender import Recommender
from ..store import runs
from ..store.workspace import Workspace
from .backends import Backend, choose_backend, config_of, load_trainable, out_of_memory, require_4bit, shares
from .bases import EMBEDDED, Base, resolve
from .batches import Answers, Collator
from .export import ADAPTER_GGUF, LORA, MERGED, REFERENCE, merge_unpatched, save_lora, to_gguf
from .gate import agreement, engine_log_odds, fusion, measures, refusals, spread
from .pictures import pixels_of
from .questions import Questions, questions
from .rows import NO, YES, Row
from .settings import Settings

_NEEDED = ("torch", "transformers", "peft", "accelerate", "gguf")
_RECORDED = ("msr-local", "llama-cpp-python", *_NEEDED, "unsloth")
_SHOWN = ("item vectors", READING, "recall scores", "recall gain", "new items", "recalled positives")
# Settings that --resume may change: training does not depend on them.
CHANGEABLE = ("quantisation", "max_delta", "min_correlation", "threads")


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told of what happens: `progress(stage, done, total, detail)` and notes for people."""

    progress: Progress = silent
    note: Callable[[str], None] = lambda _: None


def missing_packages() -> list[str]:
    """The packages that training needs and that are not installed."""
    return [name for name in _NEEDED if find_spec(name) is None]


def require_training_packages() -> None:
    """Raise `ModelError` unless what trains is installed."""
    if missing := missing_packages():
        raise ModelError(f"training needs {', '.join(missing)}. Next: pip install 'msr-local[train]'.")
    # Before torch loads OpenMP: threads that spin at barriers starve each other when the machine is busy.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def answers_of(engine: TokenEngine, base: Base, row: Row) -> Answers:
    """The tokens that answer a question such as `row`. Raises `ModelError` if Yes or No is not one token."""
    # An answer begins at once on a new line ("assistant\\n"), and with a blank after a word ("Assistant:").
    blank = "" if row.suffix[-1][1][-1:].isspace() else " "

    before = [Text("x")]  # a tokenizer may write the first word of all otherwise

    def token(text: str) -> int:
        ids = engine.token_ids([*before, Text(text)])[len(engine.token_ids(before)) :]
        if len(ids) != 1:
            raise ModelError(
                f"{base.name}: {text!r} is {len(ids)} tokens; an answer must be one. Next: another --base."
            )
        return ids[0]

    facts = engine.facts
    return Answers(token(blank + YES), token(blank + NO), *(tuple(map(token, all_)) for all_ in (facts.yes, facts.no)))


def prepare(
    workspace: Workspace, settings: Settings, base: Base, listener: Listener, *, learns: bool = False
) -> tuple[Questions, Answers, dict[str, str]]:
    """The training and validation sets for `base`, the answers' tokens, and the hashes of the prompts.

    `learns` asks to learn recall first, where that is worth it.
    """
    if base.name == EMBEDDED:  # captions and summaries as `recommend` has them
        plain = embedded_cast(workspace, Asking(threads=settings.threads))
    else:
        plain = cast(workspace, Asking(model=base.model, projector=base.projector, threads=settings.threads))
    recipe = settings.asked_with

    def progress(stage: str, done: int, total: int, detail: str = "") -> None:
        if stage.endswith("questions") or stage in _SHOWN:  # not each summary within
            listener.progress(stage, done, total, detail)

    with Recommender(workspace, replace(plain, recipe=recipe), progress=progress) as recommender:

        def learn() -> None:
            if learns and learning.worth_learning(workspace):
                listener.note(learning.told(recommender.learn()))

        made = questions(recommender, settings, learn)
        answers = answers_of(recommender.judge.tokens, base, made.train[0])
        return made, answers, recommender.prompts


class Finetuning:
    """One run of `finetune`: a row in the table `runs`, a folder in the workspace, and the stages between them.

    `settings` are those of a new run. A run of this `name` that was stopped goes on instead if it had the same
    settings, or if `resume` says so, then with its own settings but for what `changes` says of `CHANGEABLE` ones.
    Raises `InputError` when there is nothing to resume, or another process is working on it.
    """

    def __init__(
        self, workspace: Workspace, name: str, settings: Settings, tools: Callable[[], Path],
        listener: Listener = Listener(), *, resume: bool = False, changes: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.workspace, self.name, self.listener = workspace, registry.valid_name(name), listener
        self.tools = cache(tools)  # fetched at most once
        require_training_packages()
        stopped = [run for run in runs.runs(workspace) if run.name == name and run.status != "done"]
        old = stopped[0] if stopped else None
        if resume and old is None:
            raise InputError(f"there is no unfinished run named {name!r}. Next: the same command without --resume.")
        if old and resume:
            own = Settings.from_json(old.settings)
            if other := [one for one in changes if one not in CHANGEABLE and changes[one] != getattr(own, one)]:
                kept = ", ".join(f"{one} {getattr(own, one)}" for one in other)
                raise InputError(
                    f"a resumed run keeps its options; run {old.run_id} has {kept}. "
                    "Next: leave that option out, or start a new run without --resume."
                )
            settings = replace(own, **changes)
        going_on = old is not None and (resume or Settings.from_json(old.settings) == settings)
        self.settings = settings
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
        self.run_id = old.run_id if old and going_on else f"{name}-{stamp}"
        self.folder = workspace.home / "training" / "runs" / self.run_id
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            why = f"another process is working on run {self.run_id}"
            raise InputError(f"{why}. Next: wait until it has finished, or give another --name.") from None
        if going_on:
            listener.note(f"Continuing run {self.run_id}.")
            runs.update_run(workspace, self.run_id, status="running", settings=settings.to_json())
        else:
            runs.start_run(
                workspace, self.run_id, name, stage="questions", settings=settings.to_json(), split={},
                versions=_versions(),
            )  # fmt: skip

    def run(self, finish: Callable[[Manifest], None] = lambda _: None) -> Manifest:
        """All stages that are not done. Raises `MsrError` with the reason when the run fails; its files are kept.

        What `finish` does with the adapter is the last of them: until then, the same command goes on with this run.
        """
        try:
            return self._run(finish)
        except Exception as error:
            runs.update_run(self.workspace, self.run_id, status="failed", error=str(error))
            raise
        finally:
            self._lock.release()

    def _run(self, finish: Callable[[Manifest], None]) -> Manifest:
        base = resolve(self.settings.base, self.tools, note=self.listener.note)
        cuda, trained = _cuda(), (self.folder / LORA).exists()
        backend = choose_backend(self.settings.backend, base.folder, cuda=cuda)  # before anything is asked
        if self.settings.load_in_4bit and not trained:
            require_4bit(cuda=cuda)
        made, answers, prompts = prepare(self.workspace, self.settings, base, self.listener, learns=True)
        self._keep_to(made)
        held = {**made.split.to_json(), "interactions": made.interactions}
        runs.update_run(self.workspace, self.run_id, stage="training", split=held)
        config = config_of(base.folder)
        mark = config.get("image_token_id", config.get("image_token_index"))
        collator = Collator(answers, pixels_of(base.folder, base.projector), mark)
        if not (self.folder / LORA).exists():
            # Unsloth's fast attention on a GPU takes no masks of our own.
            fast = cuda and backend.name == "unsloth"
            there = replace(collator, share=not fast, device="cuda" if cuda else "cpu")
            self._train(base, backend, made, there)
        self._stage("export")
        gate_rows = spread(made.validation)
        if not (self.folder / MERGED).exists() and not (self.folder / "merged.f16.gguf").exists():
            self.listener.note("Merging the adapter into its base.")
            with self._quiet():
                merge_unpatched(self.folder, base, gate_rows, replace(collator, share=shares(base.folder)))
        quantisation = self.settings.quantisation
        merged = to_gguf(self.folder, base, self.tools, quantisation, self.listener.note)
        self._stage("gate")
        found = self._measure(base, made, gate_rows, merged)
        runs.update_run(self.workspace, self.run_id, metrics=found)
        refused = list(refusals(found["parity"], self.settings.max_delta, self.settings.min_correlation))
        if refused:
            raise ModelError(
                f"adapter {self.name} was not registered: {'; '.join(refused)}. Its files are in {self.folder}. "
                "Next: --resume with another --quantise, or with other limits (--max-delta, --min-correlation)."
            )
        self._stage("registry")
        manifest = self._manifest(base, backend, made, prompts, merged, found)
        registry.register(self.workspace, self._staged(merged), manifest)
        finish(manifest)
        runs.update_run(self.workspace, self.run_id, stage="done", status="done")
        self._drop("*.gguf", MERGED, "checkpoints")  # what only a run that goes on would need
        return manifest

    def _keep_to(self, made: Questions) -> None:
        """Start over if the workspace has other questions now than when this run was stopped."""
        mark = self.folder / "set"
        if mark.exists() and mark.read_text(encoding="utf-8") != made.folder.name:
            self.listener.note("The workspace has changed since then: the run starts from the beginning.")
            self._drop("*.gguf", "*.json", LORA, MERGED, "checkpoints", "staged", "set")
        with written_whole(mark) as part:
            part.write_text(made.folder.name, encoding="utf-8")

    def _drop(self, *patterns: str) -> None:
        for path in (path for pattern in patterns for path in self.folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    # ---- stages

    def _stage(self, name: str) -> None:
        runs.update_run(self.workspace, self.run_id, stage=name)

    def _train(self, base: Base, backend: Backend, made: Questions, collator: Collator) -> None:
        settings, listener = self.settings, self.listener
        listener.note(f"Training {base.name} with {backend.name} ({backend.why}): {len(made.train):,} questions.")
        import torch

        torch.set_num_threads(settings.threads or usable_threads())
        with self._quiet():
            model = load_trainable(backend, base.folder, settings, cuda=collator.device != "cpu")
            # Not before: Unsloth wants to be imported before transformers.
            collator = replace(collator, share=collator.share and shares(base.folder))
        from .dropout import pool_dropout
        from .loop import Reported, train

        if collator.device == "cpu":
            pool_dropout(model, settings.seed)

        began = time.monotonic()

        def report(one: Reported) -> None:
            auc = one.auc or (None, None, None)
            step = runs.Step(one.step, one.loss, auc[0], auc[1], auc[2], one.tokens, one.seconds, one.learning_rate)
            known = {old.step: old for old in runs.steps(self.workspace, self.run_id)[-1:]}
            runs.log_step(self.workspace, self.run_id, _joined(known.get(one.step), step))
            speed = f"{one.rate:.0f} tokens/s" if one.rate else ""
            if one.loss is not None:
                told = ", ".join(filter(None, [f"loss {one.loss:.3f}", speed]))
                listener.progress("training", one.step, one.steps, told)
            if one.auc:
                value, low, high = one.auc
                listener.note(
                    f"Step {one.step} of {one.steps}: validation AUC {value:.3f} [{low:.3f}, {high:.3f}], {speed}"
                )

        try:
            with self._quiet():
                done = train(
                    model, made.train, made.validation, collator, settings, self.folder / "checkpoints", report
                )
                save_lora(model, self.folder)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise ModelError(
                f"out of memory while training {base.name}. Next: a smaller --batch (and a larger --accumulation), "
                "or a smaller --max-length."
            ) from error
        del model
        gc.collect()  # the trainer and its model hold on to each other; the engine needs the room
        runs.update_run(
            self.workspace, self.run_id,
            metrics={"training": {**done, "backend": backend.name, "why": backend.why,
                                  "seconds": round(time.monotonic() - began, 1)}},
        )  # fmt: skip

    def _measure(self, base: Base, made: Questions, gate_rows: list[Row], merged: Path) -> dict[str, Any]:
        """Parity with the trained model, and AUC before and after, all through the engine."""
        kept = self.folder / f"gate.{self.settings.quantisation}.json"
        if kept.exists():
            found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
            if "calibration" in found.get("fusion", {}):  # else an older release measured
                return found
        import numpy as np

        # As `recommend` would load it: a small quantised model is computed with in F16.
        loaded = to_compute_with(merged, sha256(merged), quantised=self.settings.quantisation != "f16")
        plain = EngineConfig(base.model, base.projector, threads=self.settings.threads)
        variants = {
            "before": plain,
            "after": replace(plain, adapters={"score": self.folder / ADAPTER_GGUF}),
            "merged": replace(plain, model=loaded),
        }
        z, coverage, seconds = {}, {}, {}
        for number, (name, config) in enumerate(variants.items()):
            self.listener.progress("gate", number, len(variants))
            began = time.monotonic()
            try:
                z[name], coverage[name] = engine_log_odds(config, made.validation)
            except ModelError as error:
                if name == "before":
                    raise
                why = str(error).partition(" Next:")[0]  # its next step is for a model that came broken
                raise ModelError(f"trained, the model does not answer ({why}) Next: a smaller --lr.") from error
            seconds[name] = round(time.monotonic() - began, 2)
        self.listener.progress("gate", len(variants), len(variants))
        place = [made.validation.index(row) for row in gate_rows]
        reference = np.array(json.loads((self.folder / REFERENCE).read_text(encoding="utf-8")))
        answers = np.array([float(row.answer == YES) for row in made.validation])
        scaling = platt(z["after"], answers)
        found = {
            "parity": {
                form: agreement(z[key][place], reference) for form, key in (("adapter", "after"), ("merged", "merged"))
            },
            **measures(made.validation, z["before"], z["after"], z["merged"]),
            "coverage": coverage,
            "seconds": seconds,
            "calibration": scaling.to_json() if scaling else None,
            "fusion": fusion(made.validation, z["after"]),
            "questions": made.facts(),
        }
        found = runs.finite(found)
        with written_whole(kept) as part:
            part.write_text(json.dumps(found), encoding="utf-8")
        return found

    def _staged(self, merged: Path) -> Path:
        """A folder with all that an adapter consists of but its manifest."""
        staged = self.folder / "staged"
        with written_whole(staged) as part:
            shutil.rmtree(staged, ignore_errors=True)
            part.mkdir()
            for file in (self.folder / ADAPTER_GGUF, merged):
                try:
                    os.link(file, part / file.name)
                except OSError:  # a file system without links
                    shutil.copyfile(file, part / file.name)
            shutil.copytree(self.folder / LORA, part / "peft")
        return staged

    def _manifest(
        self, base: Base, backend: Backend, made: Questions, prompts: dict[str, str], merged: Path,
        found: dict[str, Any],
    ) -> Manifest:  # fmt: skip
        files = {"adapter": (self.folder / ADAPTER_GGUF, "f16"), "merged": (merged, self.settings.quantisation)}
        run = runs.run(self.workspace, self.run_id)
        assert run is not None
        keys = ("before", "after", "merged", "recall", "fused", "calibration_error", "coverage")
        return Manifest(
            name=self.name,
            created=run.created,
            run_id=self.run_id,
            backend=backend.name,
            base={
                "name": base.name,
                "model": str(base.model),
                "model_sha256": sha256(base.model),
                "mmproj": str(base.projector) if base.projector else None,
                "mmproj_sha256": sha256(base.projector) if base.projector else None,
                "licence": base.licence,
            },
            files={
                form: {"file": path.name, "sha256": sha256(path), "bytes": path.stat().st_size, "quantisation": kind}
                for form, (path, kind) in files.items()
            },
            prompts=prompts,
            recipe=self.settings.asked_with.to_json(),
            settings=self.settings.to_json(),
            versions=run.versions,
            split=made.split.to_json(),
            metrics={key: found[key] for key in keys},
            parity=found["parity"],
            calibration=found["calibration"],
            fusion=found["fusion"],
        )

    @contextlib.contextmanager
    def _quiet(self) -> Any:
        """What libraries print goes to the run's own log."""
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            yield


def _joined(old: runs.Step | None, new: runs.Step) -> runs.Step:
    """A step's loss and its evaluation are reported one after the other and belong together."""
    if old is None or new.loss is not None:
        return new
    return replace(new, loss=old.loss, learning_rate=old.learning_rate)


def _versions() -> dict[str, str]:
    found = {}
    for name in _RECORDED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def questions_document(made: Questions, shown: int = 3) -> dict[str, Any]:
    """What `finetune --dry-run` shows of a training set: its counts, and its first questions with their answers."""
    rows = [{"prompt": row.prompt, "completion": row.answer, "tokens": len(row.ids)} for row in made.train[:shown]]
    return {**made.facts(), "rows": rows}


def run_document(workspace: Workspace, manifest: Manifest) -> dict[str, Any]:
    """The result of a run: the manifest of its adapter, and all that was measured."""
    run = runs.run(workspace, manifest.run_id)
    return {**manifest.to_json(), "run": run.metrics if run else {}}
