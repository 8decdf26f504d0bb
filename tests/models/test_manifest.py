"""A manifest is read as it was written, or refused with file and key, wherever it comes from."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import manifest
from hypothesis import given
from hypothesis import strategies as st

from msr_local.errors import ModelError
from msr_local.models.manifest import Manifest

OTHER = {"adapter": b"GGUF another lora"}

GOOD = manifest().to_json()
OPTIONAL = [("fusion", "calibration"), ("fusion", "calibration", "recall")]
PLACES = [
    (), *((key,) for key in GOOD), *(("base", key) for key in GOOD["base"]), ("files", "adapter"), ("fusion", "recall"),
    ("fusion", "calibration", "recall", "a"), *OPTIONAL,
    *(("files", "adapter", key) for key in GOOD["files"]["adapter"]), ("calibration", "a"), ("settings", "max_length"),
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def changed(document: dict[str, Any], place: tuple[str, ...], value: Any) -> Any:
    if not place:
        return value
    document = copy.deepcopy(document)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return document


@given(st.sampled_from(PLACES), JSON)
def test_any_manifest_is_read_or_refused(place, value):
    where = Path("/home/adapters/first/manifest.json")
    try:
        read = Manifest.from_json(changed(GOOD, place, value), where)
    except ModelError as error:
        assert str(where) in str(error) and "Next:" in str(error)
        return
    assert Manifest.from_json(json.loads(json.dumps(read.to_json(), allow_nan=False)), where) == read
    assert all(Path(entry["file"]).name == entry["file"] for entry in read.files.values())


@pytest.mark.parametrize(
    "place", [place for place in PLACES if place and place not in [*OPTIONAL, ("files", "adapter")]]
)
def test_a_missing_key_is_named(place):
    document = changed(GOOD, place, None)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    with pytest.raises(ModelError, match=rf"/x/manifest.json: .*the key {'.'.join(place)} is missing"):
        Manifest.from_json(document, Path("/x/manifest.json"))


@pytest.mark.parametrize("fusion", [{"recall": 0.25}, {"recall": 0.25, "calibration": {"recall": None}}])
def test_without_a_calibration_of_the_score_there_is_none(fusion):
    read = Manifest.from_json(GOOD | {"fusion": fusion}, Path("x"))
    assert read.calibrated("recall") is None and read.calibrated("learned") is None
    assert manifest().calibrated("recall") == (0.5, -4.0) and manifest().calibrated("learned") is None


@pytest.mark.parametrize("slope", [0, -0.5])
def test_a_calibration_that_turns_the_order_round_is_refused(slope):
    with pytest.raises(ModelError, match=r"fusion.calibration.recall.a is .* must be over 0"):
        Manifest.from_json(changed(GOOD, ("fusion", "calibration", "recall", "a"), slope), Path("/x/manifest.json"))


def test_unknown_keys_are_ignored():
    assert Manifest.from_json(GOOD | {"later": [1]}, Path("x")) == manifest()
