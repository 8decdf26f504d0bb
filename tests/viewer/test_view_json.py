from __future__ import annotations

import json

from viewer_samples import BARE, PLAIN, WILD, listed


def test_recommend_has_the_keys_of_the_contract() -> None:
    document = json.loads(json.dumps(listed(PLAIN).to_json()))
    assert list(document) == ["user", "summary", "items", "model", "timing", "pictures"]
    keys = ["rank", "item_id", "title", "p_yes", "log_odds", "score", "probability", "caption", "shares"]
    assert [list(item) for item in document["items"]] == [keys, keys]
    assert document["items"][0]["shares"] == {"markov": 1.0}


def test_explain_has_the_keys_of_the_contract() -> None:
    document = json.loads(json.dumps(PLAIN.to_json()))
    assert {"user", "item_id", "probability", "p_yes", "log_odds", "timeline", "evidence"} <= document.keys()
    assert list(document["timeline"][0]) == ["block", "from", "to", "items", "summary", "added", "dropped"]
    assert document["timeline"][0]["items"] == [{"item_id": "f7", "title": "Ember of Callisto"}]
    assert document["timeline"][1]["to"] is None
    assert document["evidence"][0] == {
        "kind": "image",
        "label": "the picture itself",
        "delta_log_odds": -0.021,
        "ci95": [-0.111, 0.069],
        "common": 0.4,
        "compared_with": 12,
        "shared": [],
    }
    assert document["evidence"][1]["shared"] == ["quiet", "sea"]
    assert not {"image", "thumbnails"} & document.keys()


def test_empty_and_hostile_documents_are_json_too() -> None:
    assert json.loads(json.dumps(BARE.to_json()))["timeline"] == []
    assert json.loads(json.dumps(WILD.to_json()))["title"] == WILD.title
