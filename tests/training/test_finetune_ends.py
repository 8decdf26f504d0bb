"""What follows a training run: the adapter answers, whatever becomes of its curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import staged

from msr_local.cli import finetune
from msr_local.cli.options import Session
from msr_local.cli.output import Output
from msr_local.errors import FileError, MsrError
from msr_local.models import choice, registry
from msr_local.store import runs
from msr_local.store.workspace import Workspace


@pytest.mark.parametrize("error", [None, MsrError("no matplotlib."), FileError("full."), RuntimeError("no font"),
                                   OSError(28, "No space left on device"), ValueError("NaN")])  # fmt: skip
def test_it_is_active_with_and_without_its_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception | None
) -> None:
    pytest.importorskip("transformers", reason="training needs the extra train")

    def draw(path: Path, steps: Any) -> None:
        if error:
            raise error
        path.touch()

    chosen: list[str] = []
    monkeypatch.setattr("msr_local.viewer.curve.curve_png", draw)
    monkeypatch.setattr(choice, "use_adapter", lambda workspace, name: chosen.append(name))
    home = tmp_path / "home"
    with Workspace(home) as workspace:
        place, manifest = staged(home, "mine")
        runs.start_run(workspace, manifest.run_id, "mine", stage="done", settings={}, split={}, versions={})
        registry.register(workspace, place, manifest)
        session = Session(home, home_given=True, output=Output())
        finetune._finish(session, workspace, manifest, activate=True)
        finetune._show(session, workspace, manifest, activate=True, as_json=True)
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert chosen == ["mine"] and document["active"] is True and (document["curve"] is None) == (error is not None)
    assert (str(error) in shown.err) if error else not shown.err
