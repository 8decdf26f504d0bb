from __future__ import annotations

import os
from pathlib import Path

import pytest

from msr_local.engine.hardware import usable_threads

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(("quota", "threads"), [("max 100000", CORES), ("100000 100000", 1), ("50000 100000", 1)])
def test_cgroup_quota(tmp_path: Path, quota: str, threads: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_threads(tmp_path) == threads


def test_old_cgroup_and_none(tmp_path: Path) -> None:
    assert usable_threads(tmp_path) == CORES
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert usable_threads(tmp_path) == 1
