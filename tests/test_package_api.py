"""The public names."""

from __future__ import annotations

import pytest

import msr_local


def test_exported_names() -> None:
    assert set(msr_local.__all__) == set(msr_local._HOMES)
    assert all(getattr(msr_local, name) is not None for name in msr_local.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = msr_local.nonsense
