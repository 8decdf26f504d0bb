"""`doctor` says each thing once, whatever is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from read_only import read_only
from samples import Ran

from msr_local.cli import doctor as module
from msr_local.engine.types import LogOdds, ModelFacts
from msr_local.errors import ModelError

Cli = Callable[..., Ran]


def recommender(yes: list[str], no: list[str], template: bool, coverage: float = 1.0, context: int = 4096) -> Any:
    """What doctor looks at of a recommender."""

    def rendered(_: object) -> Any:
        if not template:
            raise ModelError("the chat template takes no system message. Next: another model.")
        return SimpleNamespace(prefix=["a"], suffix=["b"])

    def trial() -> LogOdds:
        rendered(None)
        return LogOdds(0.0, coverage, "Maybe")

    plain = "{% for message in messages %}{{ message.content }}{% endfor %}"
    facts = ModelFacts("a model", context, False, plain, "", "", False, tuple(yes), tuple(no), 1, "AVX2 = 1")
    tokens = SimpleNamespace(facts=facts, rendered=rendered)
    judge = SimpleNamespace(tokens=tokens, sample=lambda: None, trial=trial)
    return SimpleNamespace(tokens=tokens, judge=judge, cast=SimpleNamespace(origin="option", scorer=None, config=None))


@pytest.mark.parametrize("coverage", [1.0, 0.1])
@pytest.mark.parametrize("template", [True, False])
@pytest.mark.parametrize(("yes", "no"), [(["Yes"], ["No"]), ([], ["No"]), (["Yes"], []), ([], [])])
def test_nothing_is_said_twice(yes: list[str], no: list[str], template: bool, coverage: float) -> None:
    found = list(module._model(recommender(yes, no, template, coverage)))
    assert len({one.check for one in found}) == len({one.detail for one in found}) == len(found)
    said = " ".join(one.detail for one in found)
    assert said.count("no single token") <= 1 and said.count("system message") <= 1
    broken = [one.check for one in found if one.state == "broken"]
    assert broken == ["tokens"] * (not yes or not no) + ["chat template"] * (not template)
    assert ("answer" in {one.check for one in found}) == bool(yes and no and template)


@pytest.mark.parametrize(("context", "state"), [(128, "warning"), (999, "warning"), (1_000, "ok")])
def test_a_context_that_is_too_small_for_a_long_question_is_a_warning(context: int, state: str) -> None:
    found = {one.check: one for one in module._model(recommender(["Yes"], ["No"], True, context=context))}
    assert found["model"].state == state
    assert f"{context} tokens" in found["model"].detail and ("Next" in found["model"].detail) == (state == "warning")


def test_a_workspace_is_named_once_and_said_to_be_read_only(cli: Cli, models: Path, tmp_path: Path) -> None:
    gone = ("doctor", "--model", tmp_path / "gone.gguf", "--json")
    first = {one["check"]: one for one in cli(*gone).json}
    assert first["workspace"] == {"check": "workspace", "state": "ok", "detail": str(tmp_path / "home" / "msr.db")}
    assert first["stopped"]["state"] == "broken"
    with read_only(tmp_path / "home"):
        again = {one["check"]: one for one in cli(*gone).json}
    assert again["workspace"]["state"] == "warning" and "read-only" in again["workspace"]["detail"]
