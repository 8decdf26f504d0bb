"""How many threads and how much memory this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_threads(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The smaller of CPU affinity and cgroup quota, at least 1.

    llama.cpp's own default is half the cores, and it does not see a container's quota.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota(cgroup) or affinity))


def usable_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes of memory: the machine's, or a container's limit where that is less. None where nobody says."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # Windows
        found = []
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            found.append(int((cgroup / name).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(found, default=None)


def _quota(cgroup: Path) -> int | None:
    try:  # version 2: "max 100000" or "200000 100000"
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        pass
    try:  # version 1
        quota_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((cgroup / "cpu/cpu.cfs_period_us").read_text())
        return math.ceil(quota_us / period_us) if quota_us > 0 else None
    except (OSError, ValueError):
        return None
