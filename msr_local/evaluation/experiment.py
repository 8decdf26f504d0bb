"""One evaluation: the recommender, its parts and the baselines on the same candidates of the same users.

It works as `recommend` does: the same scores of recall, the same question, the same engine; what recall can learn is
learned again from the interactions that may be known. Answers are kept in the workspace under the hash of all that they
depend on, so an evaluation that was stopped continues, and one that is run again asks nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays import Floats, Indices, Items, Mask, Vector
from ..errors import InputError
from ..models.spec import Fused
from ..recall import fusion, protocols, towers
from ..recall.candidates import Recall
from ..recall.halves import Half
from ..recall.learned import READING, RECALLED
from ..recall.logistic import sigmoid
from ..recall.protocols import COLD, CORE, Case, Plan
from ..recall.splits import TEST, Split
from ..recipe import calibrated
from ..recipe.recommender import Recommender
from ..store import histories, runs
from ..store.rows import Log
from ..store.workspace import fingerprint
from . import baselines, ranking
from .answers import Answers
from .baselines import TOWERS
from .calibration import LEAST, ask, offered
from .metrics import calibration_error
from .past import Past, past
from .recommended import ALONE, MODEL, RECOMMENDED, Recommended, offered_among, offered_of_all
from .standing import Standing

BLEND = "blend of baselines"
MORE = "blend with two towers"  # that know the items by their ids
READ = "blend that reads"  # the same, but its towers also get the items' texts
LEARNED = "learned recall"  # what `recommend` can learn to rank with: without EASE, whose matrix is dense
SHELF = "among_cold"  # asked for a cold item, the cold items ranked alone
TEXTS = "towers without ids"  # the towers that read, of texts alone: every item is new to them
_MAIN = (RECOMMENDED, READ, READING, MORE, BLEND, "item-kNN")  # the first one present is what the document is about
_PAIRS = (
    (READ, BLEND), (READ, MORE), (READING, TOWERS), (LEARNED, BLEND), (RECOMMENDED, READ), (RECOMMENDED, LEARNED),
    (RECOMMENDED, ALONE), (RECOMMENDED, MODEL), (ALONE, "text"),
)  # fmt: skip
_COMPARED = ("auc_per_user", "hr@5", "mrr@5", "ndcg@5", "ndcg@10")
_COLD_COMPARED = ("hr@10", "ndcg@10")
_LISTED = 300  # other candidates in the lists from which to learn how to rank the whole catalogue
_LISTS = 4000  # at most


@dataclass(frozen=True, slots=True)
class Options:
    """What is evaluated; None means: as fits the protocol."""

    protocol: str = "last"
    split: str | None = None
    core: tuple[int, int] | None = None  # least interactions of a user and of an item; None: the paper's for popular6
    negatives: str = "uniform"
    count: int = 20  # of the negatives
    full: bool = False  # rank the whole catalogue instead; always, where cold items are asked for
    candidates: int = 100  # the best of it, by recall, that the model is asked about
    users: int | None = None
    slow: bool = True  # SASRec and GRU4Rec as well
    model: bool = True  # what the language model adds
    questions: bool = True  # its answers among that; without, its vectors of the items alone
    seed: int = 0


class Experiment:
    """An evaluation of a workspace.

    Raises `InputError` where there are no test users, or where the adapter has seen the answers.
    """

    def __init__(
        self, recommender: Recommender, options: Options, *, note: Callable[[str], None] = lambda _: None
    ) -> None:
        options = replace(options, full=options.full or options.protocol == COLD)
        self.recommender, self.options, self.note = recommender, options, note
        self._workspace = recommender.workspace
        self._scorers: dict[int, list[baselines.Scorer]] = {}  # by the identity of what was known
        self._pasts: dict[str, Past] = {}  # by the items' texts
        with self._workspace.snapshot():
            whole = histories.log(self._workspace)
            self.texts = recommender.recall.texts()
        least = options.core or (CORE if options.protocol == "popular6" else (1, 1))
        self.log = protocols.core(whole, least)
        self.plan: Plan = protocols.plan(
            self.log, options.protocol, options.split, users=options.users, seed=options.seed
        )  # fmt: skip
        if options.model and options.questions:
            self._refuse_leaks(whole)

    def _refuse_leaks(self, whole: Log) -> None:
        """Refuse an adapter that saw the test's answers when it was trained in this workspace."""
        scorer = self.recommender.cast.scorer
        if scorer is None:
            return
        run = runs.run(self._workspace, scorer.run_id)
        if run is None:
            self.note(f"Adapter {scorer.name} was trained in another workspace: it may have seen the test.")
            return
        if (there := run.split.get("interactions", 0)) > len(whole.items):
            raise InputError(
                f"adapter {scorer.name} was trained when this workspace held {there:,} interactions; it now holds only "
                f"{len(whole.items):,}, so it is not known which of them the adapter saw. Next: msr-local finetune, "
                "or --adapter none."
            )
        trained_on = Split.from_json(scorer.split)
        seen = trained_on.parts(whole) != TEST
        cold = self.plan.cold
        if cold is not None and (there := int(np.isin(np.flatnonzero(cold), whole.items[seen]).sum())):
            raise InputError(
                f"adapter {scorer.name} was trained in this workspace, and may have seen interactions with {there:,} "
                f"of the {int(cold.sum()):,} items that are to be new. Next: --adapter none."
            )
        taken = set(zip(whole.users[seen].tolist(), whole.items[seen].tolist(), strict=True))
        known = sum((case.user, case.target) in taken for case in self.plan.test)
        if known:
            raise InputError(
                f"adapter {scorer.name} saw {known:,} of the {len(self.plan.test):,} positives of this evaluation in "
                f"its training or validation: its split is by {trained_on.kind}, that of the evaluation by "
                f"{self.plan.split.kind}. Next: msr-local finetune --split {self.plan.split.kind}, or another --split."
            )

    def run(self) -> dict[str, Any]:
        """The document that `evaluate --json` prints."""
        began = time.perf_counter()
        options, validation, test = self.options, self.validation, self.test
        if not self.plan.validation:
            self.note("The blends are left out: there are no validation users to fit them on. Next: ingest more users.")
        halves = (validation,) if options.full else (validation, test)
        names = [name for half in halves for name in self._score(half)]
        fused: dict[str, fusion.Fusion] = {}
        blended = [name for name in dict.fromkeys(names) if name not in ("random", TOWERS, READING, TEXTS)]
        recalled = [name for name in RECALLED if name in names] if READING in names else []
        weighed = {BLEND: blended, MORE: [*blended, TOWERS], READ: [*blended, READING], LEARNED: recalled}
        for name, parts in weighed.items():
            self._fuse(name, parts, fused, validation, *halves)
        if options.full:
            standings = self._rank(test.cases, np.arange(len(self.log.item_ids), dtype=np.int32), fused)
        else:
            standings = {name: Standing.of(scores, test.candidates, drawn=True) for name, scores in test.scores.items()}
        asked: dict[str, Any] = {}
        if options.model and options.questions:
            more, asked = self.recommended(self.recommender)
            standings |= more
        if options.model:
            standings[ALONE] = self._recall_alone()
        shelf = {} if self.plan.cold is None else self._among(np.flatnonzero(self.plan.cold), fused)
        return self._document(standings, shelf, fused, asked, time.perf_counter() - began)

    def recommended(self, recommender: Recommender, shuffled: str = "") -> tuple[dict[str, Standing], dict[str, Any]]:
        """What this recommender would have recommended to the test users, its model alone, and facts about both."""
        options, test = self.options, self.test
        made, facts = self._lists(recommender, shuffled)
        if not options.full:
            return made.among(test.cases, test.candidates), facts
        standings, recalled = made.everything(test.cases, options.candidates)
        return standings, facts | {"candidates": options.candidates, "recalled": recalled}

    def _lists(self, recommender: Recommender, shuffled: str = "") -> tuple[Recommended, dict[str, Any]]:
        then = self._past(recommender)
        answers = Answers(recommender, self.log, shuffled=shuffled, seed=self.options.seed)
        fused = self._fused_then(recommender, then)
        facts = {"recall": calibrated.kind_of(then.learned), "fused": fused.to_json()}
        return Recommended(recommender, answers, then.recall, fused), facts

    def _recall_alone(self) -> Standing:
        recall, test = self._past(self.recommender).recall, self.test
        if self.options.full:
            return offered_of_all(recall, test.cases)
        return offered_among(recall, test.cases, test.candidates)

    def _among(self, cold: Indices, fused: dict[str, fusion.Fusion]) -> dict[str, Standing]:
        """How each system ranks the cold items that are asked for among the cold items, as on a shelf of new ones."""
        options, cases = self.options, self.test.cases[: self.plan.users]
        found, only = self._rank(cases, cold.astype(np.int32), fused), {self.log.item_ids[item] for item in cold}
        if options.model and options.questions:
            found |= self._lists(self.recommender)[0].everything(cases, options.candidates, only)[0]
        if options.model:
            found[ALONE] = offered_of_all(self._past(self.recommender).recall, cases, only)
        return found

    def _past(self, recommender: Recommender) -> Past:
        """What recall would have been; made once for the same texts."""
        plan, texts = self.plan, recommender.recall.texts()
        key = fingerprint(texts)
        if key not in self._pasts:
            same = texts == self.texts
            recall = self.test.recall if same else Recall.of_log(self.log, texts, plan.known_at_test)
            self._pasts[key] = past(recommender, plan, texts, recall)
        return self._pasts[key]

    def _fused_then(self, recommender: Recommender, then: Past) -> Fused:
        """How answer and recall would have been fused: where the workspace is calibrated, as validation users have it.

        What was fitted in the workspace itself has seen the test's answers.
        """
        facts = calibrated.facts(self._workspace, recommender.judge.settings, then.learned)
        if facts is not None:
            lists = offered(then.hidden(), facts["users"], self.options.seed)
            if len(lists) >= LEAST:
                return ask(recommender, self.log, lists).fused()
        return recommender.cast.fused(then.learned)

    # ---- candidates

    @cached_property
    def validation(self) -> Half:
        """The users on whom the fusions are fitted."""
        plan, options = self.plan, self.options
        half = Half(plan.validation, self._recall(plan.known), plan.known)
        if not options.full:
            return half.among(self._drawn(half))
        half = half.first(_LISTS)
        return half.among(*protocols.listed(self.log, half.cases, half.recall, _LISTED, options.seed))

    @cached_property
    def test(self) -> Half:
        """The users who are asked; where the whole catalogue is ranked, without candidates yet."""
        plan = self.plan
        recall = self.validation.recall if plan.known_at_test is plan.known else self._recall(plan.known_at_test)
        half = Half(plan.test, recall, plan.known_at_test)
        return half if self.options.full else half.among(self._drawn(half))

    def _drawn(self, half: Half) -> list[Items]:
        options = self.options
        return protocols.sampled(self.log, half.cases, half.recall, options.negatives, options.count, options.seed)

    def _recall(self, known: Mask) -> Recall:
        return Recall.of_log(self.log, self.texts, known)

    # ---- systems

    def _scorer(self, half: Half) -> baselines.Scorer:
        """All systems but the language model's answers, trained on what is known to this half."""
        key = id(half.known)
        if key not in self._scorers:
            options = self.options
            note = (lambda _: None) if self._scorers else self.note
            made = [*baselines.scorers(self.log, half.known, half.recall, seed=options.seed, slow=options.slow,
                                       note=note, progress=self.recommender.progress)]  # fmt: skip
            if options.model:
                made.append(self._reading(half.known))
            self._scorers[key] = made
        scorers = self._scorers[key]
        return lambda history, items: {
            name: scores for one in scorers for name, scores in one(history, items).items()
        }  # fmt: skip

    def _score(self, half: Half) -> list[str]:
        """Score the candidates of a half; returns the names of the systems that did."""
        scorer = self._scorer(half)
        rows: dict[str, list[Vector]] = {}
        for done, (case, items) in enumerate(zip(half.cases, half.candidates, strict=True), start=1):
            for name, scores in scorer(case.history, items).items():
                rows.setdefault(name, []).append(scores)
            self.recommender.progress("baselines", done, len(half.cases))
        for name, found in rows.items():
            half.keep(name, found)
        return list(rows)

    def _reading(self, known: Mask) -> baselines.Scorer:
        """Two towers that know the items' texts, as the language model's vectors, beside their ids.

        Where items are cold, every item has a twin with the same text that nobody took. The twins' towers are what the
        texts alone make of the items; training does not see them.
        """
        log, progress, size = self.log, self.recommender.progress, len(self.log.item_ids)
        twins = self.plan.cold is not None
        vectors = np.concatenate([self._vectors, self._vectors]) if twins else self._vectors
        trained = towers.trained(
            log.users[known], log.items[known], len(vectors), vectors, seed=self.options.seed,
            progress=lambda done, total: progress(READING, done, total),
        )  # fmt: skip

        def score(history: Items, items: Items) -> dict[str, Vector]:
            found = {READING: trained(history, items)}
            return found | {TEXTS: trained(history + size, items + size)} if twins else found

        return score

    @cached_property
    def _vectors(self) -> Floats:
        """The texts of all items that may be candidates, as vectors [I, D]."""
        size = len(self.log.item_ids)
        items = np.arange(size) if self.options.full else np.unique(self.log.items)
        found = self.recommender.vectors.of([self.texts[item] for item in items])
        vectors = np.zeros((size, found.shape[1]), np.float32)
        vectors[items] = found
        return vectors

    def _rank(self, cases: Sequence[Case], items: Items, fused: dict[str, fusion.Fusion]) -> dict[str, Standing]:
        """How each system ranks these items at the test, less what the history holds: that is never recommended."""
        scorer = self._scorer(self.test)
        standings: dict[str, Standing] = {}
        for done, case in enumerate(cases, start=1):
            free = np.setdiff1d(items, case.history)
            scores = scorer(case.history, free)
            for name, one in fused.items():
                scores[name] = one(np.stack([scores[part] for part in one.names], axis=-1))
            (mine,) = np.flatnonzero(free == case.target)
            for name, values in scores.items():
                standings.setdefault(name, Standing()).add(values[mine], values, free)
            self.recommender.progress("whole catalogue", done, len(cases))
        return standings

    def _fuse(
        self, name: str, parts: list[str], fused: dict[str, fusion.Fusion], validation: Half, *halves: Half
    ) -> None:
        """Fit a fusion on the validation users, if all its parts are there, score with it, and put it in `fused`."""
        if not parts or not all(part in validation.scores for part in parts):
            return
        scores = validation.stacked(parts)
        there = ~np.asarray(np.isnan(scores).any(axis=-1))
        if validation.offsets is not None:
            fused[name] = fusion.listwise(parts, scores, validation.offsets)
        else:
            answers = np.zeros(there.shape)
            answers[:, :1] = 1.0
            fused[name] = fusion.fitted(parts, scores[there], answers[there])
        for half in halves:
            half.scores[name] = fused[name](half.stacked(parts))

    # ---- results

    def _document(
        self, standings: dict[str, Standing], shelf: dict[str, Standing], fused: dict[str, fusion.Fusion],
        asked: dict[str, Any], seconds: float,
    ) -> dict[str, Any]:  # fmt: skip
        options, plan, test = self.options, self.plan, self.test
        bootstrap = ranking.Bootstrap(plan.users, options.seed)
        systems = {name: self._metrics(name, one, bootstrap, name in fused) for name, one in standings.items()}
        main = next(name for name in _MAIN if name in systems)
        pairs = [
            (one, other) for one, other in dict.fromkeys([(main, BLEND), *_PAIRS])
            if one in standings and other in standings and one != other
        ]  # fmt: skip
        document = {
            "protocol": plan.protocol,
            "split": plan.split.to_json(),
            "users": plan.users,
            "validation_users": len(plan.validation),
            "candidates": asked.get("candidates") if options.full else max(map(len, test.candidates)),
            "negatives": None if options.full else options.negatives,
            "recalled": asked.get("recalled"),
            "recall": asked.get("recall"),
            "fused": asked.get("fused"),
            "seed": options.seed,
            "system": main,
            "metrics": systems.pop(main),
            "baselines": systems,
            "tests": self._tests(standings, pairs),
            "fusion": {name: one.to_json() for name, one in fused.items()},
            "options": asdict(options),
            "seconds": round(seconds, 1),
        }
        if plan.cold is not None:
            document["cold_items"] = int(plan.cold.sum())
            for part, some in (("cold", standings), ("warm", standings), (SHELF, shelf)):
                document[part] = {
                    "metrics": {name: self._means(one, bootstrap, part) for name, one in some.items()},
                    "tests": self._tests(some, pairs, part),
                }
        if options.model:
            document["model"] = {
                **self.recommender.cast.to_json(),
                "recipe": self.recommender.recipe.to_json(),
                "prompt_version": self.recommender.judge.prompt_sha256[:12],
            }
        finite: dict[str, Any] = runs.finite(document)
        return finite

    def _metrics(self, name: str, standing: Standing, bootstrap: ranking.Bootstrap, fitted: bool) -> dict[str, Any]:
        """All metrics of one system; AUC only where all candidates of all users were drawn."""
        found = self._means(standing, bootstrap)
        if (scores := standing.scores) is not None:
            found["auc"] = bootstrap.pooled_auc(scores).to_json()
            if fitted:
                answers, there = np.zeros(scores.shape), ~np.isnan(scores)
                answers[:, 0] = 1.0
                found["calibration_error"] = {"value": calibration_error(sigmoid(scores[there]), answers[there])}
        count = self.test.recall.count
        catalogue = np.ones(len(count), bool) if self.options.full else count > 0
        spread = ranking.spread(standing.best, count, catalogue)
        return found | {metric: {"value": value} for metric, value in spread.items()}

    def _means(self, standing: Standing, bootstrap: ranking.Bootstrap, part: str = "") -> dict[str, Any]:
        values = standing.per_case().items()
        return {metric: bootstrap.mean(self._by_user(one, part)).to_json() for metric, one in values}

    def _by_user(self, values: Vector, part: str) -> Vector:
        return values if part == SHELF else self.plan.by_user(values, part)

    def _tests(
        self, standings: dict[str, Standing], pairs: Sequence[tuple[str, str]], part: str = ""
    ) -> dict[str, dict[str, Any]]:
        """Both systems of each pair on the same users."""
        found: dict[str, dict[str, Any]] = {}
        compared = _COMPARED if self.plan.cold is None else _COLD_COMPARED
        by_user, seed = self._by_user, self.options.seed
        for one, other in pairs:
            ours, theirs = standings[one].per_case(), standings[other].per_case()
            found[f"{one} - {other}"] = {
                name: ranking.paired(by_user(ours[name], part), by_user(theirs[name], part), seed).to_json()
                for name in compared
                if name in ours
            }
        return found
