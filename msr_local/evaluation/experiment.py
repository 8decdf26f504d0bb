"""One evaluation: the recommender, its parts and the baselines on the same candidates of the same users.

The path is that of `recommend`: the same recall, the same question, the same engine. Answers are kept in the workspace
under the hash of all that made them, so an evaluation that was stopped goes on, and one that is run again asks nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..recipe import fusion, towers
from ..recipe.candidates import Recall
from ..recipe.logistic import sigmoid
from ..recipe.recommender import Recommender
from ..store import histories, runs
from ..store.rows import Log
from . import baselines, protocols, ranking
from .answers import Answers
from .baselines import TOWERS
from .metrics import calibration_error
from .protocols import CORE, Case, Items, Plan
from .splits import TEST, Split

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
BLEND = "blend of baselines"
READING = "two towers that read"  # the items' texts, as vectors of the language model, beside their ids
READ = "blend that reads"  # the same, with these in the place of the two towers that do not
MODEL = "language model"  # its answers to the yes/no question
FUSED = "fused"  # all of it
_COMPARED = ("auc_per_user", "hr@5", "mrr@5", "ndcg@5", "ndcg@10")
_TOP = 10  # items that count as recommended, for coverage


@dataclass(frozen=True, slots=True)
class Options:
    """What is evaluated; None means: as fits the protocol."""

    protocol: str = "last"
    split: str | None = None
    core: tuple[int, int] | None = None  # least interactions of a user and of an item; None: the paper's for popular6
    negatives: str = "uniform"
    count: int = 20  # of the negatives
    full: bool = False  # rank what recall finds in the whole catalogue instead
    candidates: int = 100  # that recall finds
    users: int | None = None
    validation_users: int = 300  # whom the model is asked about to weigh its answers; the blend is fitted on all
    slow: bool = True  # SASRec and GRU4Rec as well
    model: bool = True  # what the language model adds
    questions: bool = True  # its answers among that; without, its vectors of the items alone
    seed: int = 0


@dataclass(slots=True)
class Half:
    """The validation or the test: its cases, the candidates of each, and scores [N, C] by system."""

    cases: list[Case]
    recall: Recall
    known: npt.NDArray[np.bool_]
    candidates: list[Items]
    missed: npt.NDArray[np.bool_]  # [N]: recall did not find the target
    scores: dict[str, Matrix] = field(default_factory=dict)

    def keep(self, name: str, rows: Sequence[Vector]) -> None:
        """Keep one system's scores; what was missed has none."""
        self.scores[name] = ranking.table(rows)
        self.scores[name][self.missed, :1] = np.nan

    def stacked(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """The scores of several systems, shape [N, C, F]."""
        return np.stack([self.scores[name] for name in names], axis=-1)


class Experiment:
    """An evaluation of a workspace.

    Raises `InputError` where nobody can be asked, or where the adapter has seen the answers.
    """

    def __init__(
        self, recommender: Recommender, options: Options, *, note: Callable[[str], None] = lambda _: None
    ) -> None:
        self.recommender, self.options, self.note = recommender, options, note
        self._workspace = recommender.workspace
        with self._workspace.snapshot():
            whole = histories.log(self._workspace)
            self._texts = recommender.texts()
        least = options.core or (CORE if options.protocol == "popular6" else (1, 1))
        self.log = protocols.core(whole, least)
        self.plan: Plan = protocols.plan(
            self.log, options.protocol, options.split, users=options.users, seed=options.seed
        )  # fmt: skip
        if options.model and options.questions:
            self._refuse_leaks(whole)

    def _refuse_leaks(self, whole: Log) -> None:
        """Refuse an adapter whose training, here, has seen what is asked about."""
        scorer = self.recommender.weights.scorer
        if scorer is None:
            return
        if runs.run(self._workspace, scorer.run_id) is None:
            self.note(f"Adapter {scorer.name} was trained in another workspace: what it saw there is not known here.")
            return
        trained_on = Split.from_json(scorer.split)
        seen = trained_on.parts(whole) != TEST
        taken = set(zip(whole.users[seen].tolist(), whole.items[seen].tolist(), strict=True))
        known = sum((case.user, case.target) in taken for case in self.plan.test)
        if known:
            raise InputError(
                f"adapter {scorer.name} was trained or chosen by {known:,} of the {len(self.plan.test):,} answers "
                f"that this evaluation asks for: it held back by {trained_on.kind}, and this by "
                f"{self.plan.split.kind}. Next: msr-local finetune --split {self.plan.split.kind}, or another --split."
            )

    def run(self) -> dict[str, Any]:
        """The document that `evaluate --json` prints."""
        began = time.perf_counter()
        options, validation, test = self.options, self.validation, self.test
        names = self._ask_baselines(validation, test)
        fused: dict[str, fusion.Fusion] = {}
        blended = [name for name in names if name != "random"]
        self._fuse(BLEND, blended, fused)
        if options.model:
            self._read(validation, test)
            self._fuse(READ, [READING if name == TOWERS else name for name in blended], fused)
        if options.model and options.questions:
            self._ask_model(validation, options.validation_users)
            self._ask_model(test, len(test.cases))
            self._fuse(FUSED, [READ, MODEL], fused)
        return self._document(test, fused, time.perf_counter() - began)

    # ---- candidates

    @cached_property
    def validation(self) -> Half:
        """The users on whom the fusions are fitted."""
        return self._half(self.plan.validation, self._recall(self.plan.known), self.plan.known)

    @cached_property
    def test(self) -> Half:
        """The users who are asked."""
        plan = self.plan
        recall = self.validation.recall if plan.known_at_test is plan.known else self._recall(plan.known_at_test)
        return self._half(plan.test, recall, plan.known_at_test)

    def _recall(self, known: npt.NDArray[np.bool_]) -> Recall:
        return Recall(self.log.item_ids, self.log.users[known], self.log.items[known], self._texts)

    def _half(self, cases: list[Case], recall: Recall, known: npt.NDArray[np.bool_]) -> Half:
        options = self.options
        if not options.full:
            drawn = protocols.sampled(self.log, cases, recall, options.negatives, options.count, options.seed)
            return Half(cases, recall, known, drawn, np.zeros(len(cases), bool))
        found, missed = [], []
        for case in cases:
            ids = [self.log.item_ids[item] for item in case.history]
            recalled = [recall.index[one.item_id] for one in recall.candidates(ids, options.candidates)]
            missed.append(case.target not in recalled)
            found.append(np.array([case.target, *(item for item in recalled if item != case.target)], np.int32))
        return Half(cases, recall, known, found, np.array(missed, bool))

    # ---- systems

    def _ask_baselines(self, *halves: Half) -> list[str]:
        """Scores of the baselines; returns their names."""
        made: dict[int, list[baselines.Scorer]] = {}
        rows: dict[str, list[Vector]] = {}
        for half in halves:
            if id(half.known) not in made:
                note = (lambda _: None) if made else self.note
                made[id(half.known)] = list(
                    baselines.scorers(
                        self.log,
                        half.known,
                        half.recall,
                        seed=self.options.seed,
                        slow=self.options.slow,
                        note=note,
                        progress=self.recommender.progress,
                    )
                )
            rows = {}
            for done, (case, items) in enumerate(zip(half.cases, half.candidates, strict=True), start=1):
                for scorer in made[id(half.known)]:
                    for name, scores in scorer(case.history, items).items():
                        rows.setdefault(name, []).append(scores)
                self.recommender.progress("baselines", done, len(half.cases))
            for name, found in rows.items():
                half.keep(name, found)
        return list(rows)

    def _read(self, *halves: Half) -> None:
        """Scores of two towers that know the items' texts, as the language model's vectors, beside their ids."""
        items = np.unique(self.log.items)
        found = self.recommender.vectors.of([self._texts[item] for item in items])
        vectors = np.zeros((len(self.log.item_ids), found.shape[1]), np.float32)
        vectors[items] = found
        made: dict[int, towers.Towers] = {}
        for half in halves:
            if id(half.known) not in made:
                made[id(half.known)] = self._towers(half.known, vectors)
            scorer = made[id(half.known)]
            half.keep(READING, [scorer(case.history, some) for case, some in
                                zip(half.cases, half.candidates, strict=True)])  # fmt: skip

    def _towers(self, known: npt.NDArray[np.bool_], vectors: npt.NDArray[np.float32]) -> towers.Towers:
        log = self.log
        return towers.trained(
            log.users[known], log.items[known], len(log.item_ids), vectors, seed=self.options.seed,
            progress=lambda done, total: self.recommender.progress(READING, done, total),
        )  # fmt: skip

    def _ask_model(self, half: Half, count: int) -> None:
        """z of the candidates of the first `count` cases; NaN for the others."""
        answers = Answers(self.recommender, self.log)
        asked = list(answers(half.cases[:count], half.recall, half.candidates[:count]))
        half.keep(MODEL, [*asked, *(np.full(len(items), np.nan) for items in half.candidates[count:])])

    def _fuse(self, name: str, parts: list[str], fused: dict[str, fusion.Fusion]) -> None:
        """Fit a fusion on the validation users of whom all parts are known, score with it, and put it in `fused`.

        Lists without the answer, which recall missed, have nothing to say of what tells it from the others. Where no
        list is left, there is no such system.
        """
        validation = self.validation
        if not all(part in validation.scores for part in parts):
            return
        scores = validation.stacked(parts)
        there = ~np.isnan(scores).any(axis=-1) & ~validation.missed[:, None]
        answers = np.zeros(there.shape)
        answers[:, :1] = 1.0
        if not answers[there].any():
            self.note(f"{name.capitalize()} is left out: there is no validation user to fit it on.")
            return
        fused[name] = fusion.fitted(parts, scores[there], answers[there])
        for half in (validation, self.test):
            half.scores[name] = fused[name](half.stacked(parts))

    # ---- results

    def _document(self, test: Half, fused: dict[str, fusion.Fusion], seconds: float) -> dict[str, Any]:
        options, plan = self.options, self.plan
        bootstrap = ranking.Bootstrap(len(test.cases), options.seed)
        systems = {
            name: self._metrics(scores, test, bootstrap, probable=name in fused) for name, scores in test.scores.items()
        }
        main = next(name for name in (FUSED, READ, MODEL, READING, BLEND, "item-kNN") if name in systems)
        document = {
            "protocol": plan.protocol,
            "split": plan.split.to_json(),
            "users": len(test.cases),
            "validation_users": len(plan.validation),
            "candidates": max(map(len, test.candidates)),
            "negatives": None if options.full else options.negatives,
            "recalled": 1.0 - float(test.missed.mean()),
            "seed": options.seed,
            "system": main,
            "metrics": systems.pop(main),
            "baselines": systems,
            "tests": {
                f"{one} - {other}": _compared(test.scores[one], test.scores[other], options.seed)
                for one, other in ((main, BLEND), (READING, TOWERS), (READ, BLEND), (FUSED, READ), (FUSED, MODEL))
                if one in test.scores and other in test.scores and one != other
            },
            "fusion": {name: one.to_json() for name, one in fused.items()},
            "options": asdict(options),
            "seconds": round(seconds, 1),
        }
        if options.model:
            document["model"] = {
                **self.recommender.weights.to_json(),
                "recipe": self.recommender.recipe.to_json(),
                "prompt_version": self.recommender.judge.template("score").sha256[:12],
            }
        finite: dict[str, Any] = runs.finite(document)
        return finite

    def _metrics(self, scores: Matrix, test: Half, bootstrap: ranking.Bootstrap, *, probable: bool) -> dict[str, Any]:
        """All metrics of one system; a pooled AUC only where all candidates of all users were ranked."""
        found: dict[str, Any] = {
            name: bootstrap.mean(values).to_json() for name, values in ranking.per_case(scores).items()
        }
        if self.options.full:
            del found["auc_per_user"]
        else:
            found["auc"] = bootstrap.pooled_auc(scores).to_json()
        there = ~np.isnan(scores)
        if probable:
            answers = np.zeros(scores.shape)
            answers[:, 0] = 1.0
            found["calibration_error"] = {"value": calibration_error(sigmoid(scores[there]), answers[there])}
        best = [
            items[np.argsort(-np.nan_to_num(row[: len(items)], nan=-np.inf), kind="stable")[:_TOP]].tolist()
            for items, row in zip(test.candidates, scores, strict=True)
        ]
        known = int((test.recall.count > 0).sum())
        found |= {name: {"value": value} for name, value in ranking.spread(best, test.recall.count, known).items()}
        return found


def _compared(a: Matrix, b: Matrix, seed: int) -> dict[str, Any]:
    ours, theirs = ranking.per_case(a), ranking.per_case(b)
    return {name: ranking.paired(ours[name], theirs[name], seed).to_json() for name in _COMPARED}
