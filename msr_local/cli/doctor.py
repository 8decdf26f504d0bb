"""`msr-local doctor`: is everything there that a recommendation needs?"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import typer

from ..errors import MsrError
from ..models.asking import Asking
from . import options as opt

if TYPE_CHECKING:
    from ..recipe.recommender import Recommender
    from ..store.workspace import Workspace

READY, BROKEN, WARNINGS = 0, 1, 2
_ROOM = 1_000  # tokens of a long question: a full summary, a window of captioned items, and a candidate
_FAST = ("AVX2", "AVX512", "NEON", "SVE")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `state` is ok, warning or broken."""

    check: str
    state: str
    detail: str


@opt.asking("model", "projector", "gpu_layers", "as_is")
def doctor(ctx: typer.Context, *, asking: Asking, as_json: opt.Json = False) -> None:
    """Check the installation, the model and the workspace.

    Exit code 0: ready. 2: works, with warnings. 1: broken.
    """
    from ..viewer.workspace import findings_view

    session: opt.Session = ctx.obj
    findings = [Finding("msr-local", "ok", f"{version('msr-local')}, Python {platform.python_version()}")]
    try:
        with session.workspace() as workspace, session.output.progress() as progress:
            findings.append(_workspace(workspace))
            with session.recommender(workspace, progress, asking) as recommender:
                findings += _model(recommender)
    except MsrError as error:
        findings.append(Finding("stopped", "broken", str(error)))
    document = [asdict(one) for one in findings]
    session.output.result(document, lambda: findings_view(document), as_json=as_json)
    states = {one.state for one in findings}
    raise typer.Exit(BROKEN if "broken" in states else WARNINGS if "warning" in states else READY)


def _workspace(workspace: Workspace) -> Finding:
    if (check := workspace.check()) != "ok":
        return Finding("workspace", "broken", f"{workspace.path}: {check}")
    if workspace.read_only:
        return Finding("workspace", "warning", f"{workspace.path}: read-only, so nothing new is kept")
    return Finding("workspace", "ok", str(workspace.path))


def _model(recommender: Recommender) -> Iterator[Finding]:
    from ..engine.llama.chat import frame
    from ..engine.types import EngineConfig, ServerConfig

    config = recommender.cast.config
    if isinstance(config, ServerConfig):
        yield Finding("server", "ok", f"{config.name}, {'pictures' if config.sees else 'no pictures'} are sent to it")
        yield _answer(recommender)
        return
    facts = recommender.tokens.facts
    fast = [name for name in _FAST if f"{name} = 1" in facts.system]
    yield Finding("runtime", "ok", f"llama-cpp-python {version('llama-cpp-python')}, {facts.threads} threads")
    slow = "none: this build is slow. Next: reinstall llama-cpp-python from source."
    yield Finding("SIMD", "ok" if fast else "warning", ", ".join(fast) or slow)
    yield Finding("GPU", "ok", _gpu(facts.gpu, config.gpu_layers if isinstance(config, EngineConfig) else None))
    model = f"{facts.name}, {facts.context} tokens of context ({recommender.cast.origin})"
    few = f". A question takes up to {_ROOM:,}: long ones will be refused. Next: another model."
    yield Finding("model", *(("ok", model) if facts.context >= _ROOM else ("warning", model + few)))
    blind = "none: the model sees no pictures. Next: msr-local models use FILE --mmproj FILE."
    yield Finding("projector", "ok" if facts.vision else "warning", "loaded" if facts.vision else blind)
    tuned = recommender.cast.scorer
    yield Finding("adapter", "ok", f"{tuned.name} ({tuned.form})" if tuned else "none: the plain model answers")
    yield Finding("training", "ok", _training())
    lacking = [word for word, spellings in (("yes", facts.yes), ("no", facts.no)) if not spellings]
    for word, spellings in (("yes", facts.yes), ("no", facts.no)):
        if spellings:
            yield Finding(f"tokens for {word}", "ok", ", ".join(map(repr, spellings)))
    if lacking:
        which = " and for ".join(lacking)
        then = "so p(yes) cannot be read. Next: another model."
        yield Finding("tokens", "broken", f"there is no single token for {which}, {then}")
    try:
        read = recommender.judge.tokens.rendered(recommender.judge.sample())
    except MsrError as error:
        yield Finding("chat template", "broken", str(error))
        return  # the same again, if it were asked
    parts = len(read.prefix) + len(read.suffix)
    closed = ". It opens <think>; that is closed at once, so that the answer comes next"
    told = f"takes a yes/no question, in {parts} parts{closed if frame(facts, '').closed else ''}"
    yield Finding("chat template", "ok", told)
    if not lacking:
        yield _answer(recommender)


def _gpu(there: bool, layers: int | None) -> str:
    if not there:
        return "none in this build of llama-cpp-python; docs/models.md says how to get one"
    return "not used (--gpu-layers 0)" if layers == 0 else f"takes {layers or 'all'} layers, if it has the memory"


def _training() -> str:
    from ..training.finetune import missing_packages

    missing = missing_packages()
    return f"not installed ({', '.join(missing)}). Next: pip install 'msr-local[train]'" if missing else "installed"


def _answer(recommender: Recommender) -> Finding:
    answer = recommender.judge.trial()
    said = f"yes and no have {answer.coverage:.0%} of the probability"
    weak = f"{said}; the most likely token is {answer.top!r}: the model was not trained for yes/no questions"
    return Finding("answer", "ok", said) if answer.coverage >= 0.5 else Finding("answer", "warning", weak)
