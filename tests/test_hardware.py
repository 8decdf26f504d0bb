from __future__ import annotations

import os
from pathlib import Path

import pytest

from msr_local.hardware import usable_memory, usable_threads


@pytest.fixture
def all_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(("quota", "threads"), [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1)])
def test_cgroup_quota(tmp_path: Path, all_cores: int, quota: str, threads: int | None) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_threads(tmp_path) == (threads or all_cores)


def test_old_cgroup_and_none(tmp_path: Path, all_cores: int) -> None:
    assert usable_threads(tmp_path) == all_cores
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert usable_threads(tmp_path) == 1


def test_memory_is_the_machines_or_a_containers(tmp_path: Path) -> None:
    whole = usable_memory(tmp_path)
    assert whole is None or whole > 10**8
    for name, text in (("memory.max", "max"), ("memory.max", "5000000"), ("memory/memory.limit_in_bytes", "4000000")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        assert usable_memory(tmp_path) == (whole if text == "max" else int(text))
