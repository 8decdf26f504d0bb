from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from msr_local.text import printable, printable_json, storable

ANY = st.text(st.characters())  # lone surrogates too


@given(ANY)
def test_stored_text_can_be_stored(text: str) -> None:
    assert "\0" not in storable(text)
    storable(text).encode()


@given(ANY)
def test_printed_text_is_one_line_without_controls(text: str) -> None:
    assert not any(unicodedata.category(c) == "Cc" or unicodedata.bidirectional(c) in _BIDI for c in printable(text))


@given(st.text())
def test_json_says_the_same_without_controls(text: str) -> None:
    document = printable_json(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(document) == {"text": text}
    assert not any(unicodedata.category(c) == "Cc" or unicodedata.bidirectional(c) in _BIDI for c in document)


_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
