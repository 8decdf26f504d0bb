"""The plain tables: of the workspace, the adapters, the checks, and of finetune before and after."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len
from viewer_samples import HOSTILE, drawn

from msr_local.recipe.views import SimilarItem, SimilarList
from msr_local.store.runs import Step
from msr_local.viewer.finetuning import outcome_view, questions_view
from msr_local.viewer.similar import similar_view
from msr_local.viewer.tables import facts_table, rows_table
from msr_local.viewer.workspace import (
    adapters_view,
    findings_view,
    ingested_view,
    items_view,
    model_view,
    status_view,
    users_view,
)


def lines(view: Any, width: int = 80) -> list[str]:
    """What is drawn, with runs of blanks as one; nothing in it is wider than the terminal or obeyed by it."""
    text = drawn(view, width=width)
    assert not {"\x1b", "\u202e", "\x9b"} & set(text)
    assert max(map(cell_len, text.splitlines()), default=0) <= width
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_long_id_is_whole_in_a_narrow_terminal() -> None:
    row = {"#": 1, "item_id": "Q" * 30 + "Z" * 30, "title": "Linen shirt", "similarity": "0.912", "took": "1,204"}
    shown = " ".join(lines(rows_table([row], right=("#", "similarity", "took")), 50))
    assert "…" not in shown and (shown.count("Q"), shown.count("Z")) == (30, 30)


def test_rows_and_facts() -> None:
    assert lines(rows_table([])) == ["nothing here yet"]
    rows = [{"user": "ada", "first_seen": None, "n": 3}, {"user": "[red]bo", "first_seen": 1.5, "n": 12}]
    assert lines(rows_table(rows, right=("n",))) == ["user first seen n", "ada 3", "[red]bo 1.5 12"]
    assert lines(facts_table({"low_ratings": 12345, "name": None})) == ["low ratings 12,345", "name"]
    lines(rows_table([{"title": HOSTILE}]))


def test_items_are_shown_by_four_of_their_columns() -> None:
    item = {"item_id": "i1", "title": "A film", "attributes": {"x": 1}, "interactions": 4, "caption": None}
    assert lines(items_view([item])) == ["item id title interactions caption", "i1 A film 4"]
    assert lines(items_view([])) == ["nothing here yet"]


def test_users_are_shown_with_their_days() -> None:
    user = {"user": "f" * 40, "interactions": 4, "first": "2020-09-14T09:54:11+00:00", "last": None}
    assert lines(users_view([user])) == ["user interactions first last", f"{'f' * 40} 4 2020-09-14"]
    assert lines(users_view([])) == ["nothing here yet"]


def test_status_names_the_models_and_what_is_to_do() -> None:
    model = {"model": "/m.gguf", "mmproj": "/eyes.gguf"}
    document = {"home": "/w", "model": model, "adapter": "mine", "adapter_form": "merged", "items": 1200,
                "calibrated": None, "todo": {"captions": 3}}  # fmt: skip
    assert lines(status_view(document)) == [
        "home /w", "model /m.gguf, projector /eyes.gguf", "adapter mine (merged model)", "items 1,200",
        "calibrated no", "captions to do 3",
    ]  # fmt: skip
    plain = {**document, "model": "embedded", "adapter": None, "adapter_form": None}
    assert lines(status_view(plain))[1:3] == ["model embedded", "adapter none: the plain model answers"]


def test_what_was_read_is_counted() -> None:
    names = ("new", "changed", "unchanged", "duplicate", "low_rated", "rejected")
    counts = dict(zip(names, range(6), strict=True))
    document: dict[str, Any] = {"items": counts, "interactions": counts, "images": {"usable": 0, "rejected": 0}}
    assert lines(ingested_view(document)) == [
        "new changed unchanged duplicate low rated rejected", "items 0 1 2 3 4 5", "interactions 0 1 2 3 4 5",
    ]  # fmt: skip
    document["images"] = {"usable": 7, "rejected": 1}
    document["captions"] = {"made": 2, "present": 4, "failed": 1, "left": 0}
    assert lines(ingested_view(document))[3:] == ["pictures 7 1", "captions 2 4 1"]


def test_problems_of_adapters_stand_below_their_table() -> None:
    row = {"name": "a", "form": "adapter", "base": "embedded", "recipe": None, "auc": 0.7, "auc_ci95": [0.6, 0.8],
           "bytes": 2_500_000, "created": "2026-01-02T03:04", "problem": None}  # fmt: skip
    other = {**row, "name": "b", "form": None, "auc": None, "auc_ci95": None, "problem": "it is broken."}
    shown = lines(adapters_view([row, other]), width=120)
    assert shown[1:] == [
        "a LoRA embedded 0.700 (0.600 to 0.800) 2.5 MB 2026-01-02", "b embedded 2.5 MB 2026-01-02", "",
        "b: it is broken.",
    ]  # fmt: skip


def test_items_like_an_item_are_shown_with_what_makes_them_alike() -> None:
    one = SimilarItem(1, "i2", "A film " + HOSTILE, 0.5, {"text": 0.25, "item_knn": 0.75}, 12)
    shown = lines(similar_view(SimilarList("i1", "Film", 1200, [one])), width=120)
    assert shown[1] == "1,200 users took it." and shown[3].startswith("# item id title")
    assert "0.500 25% 75% 12" in shown[4]
    assert lines(similar_view(SimilarList("i1", HOSTILE, 0, [])))[1:] == [
        "Nobody has taken it yet.", "", "Nothing is like it.",
    ]  # fmt: skip


def test_a_title_is_whole_words_in_a_narrow_terminal() -> None:
    one = SimilarItem(1, "1027", "Bright candle of wax", 0.5, {"text": 0.25, "item_knn": 0.75}, 12)
    shown = lines(similar_view(SimilarList("i1", "Film", 12, [one])), width=40)
    assert "candle" in " ".join(shown).split() and "took both" not in " ".join(shown)


def test_long_facts_of_a_model_are_cut_and_checks_keep_their_order() -> None:
    shown = lines(model_view({"yes": ("Yes", " yes"), "vision": True, "chat_template": "x" * 99}), width=120)
    assert shown[:2] == ["yes 'Yes', ' yes'", "vision True"] and shown[2].endswith("x…") and len(shown[2]) < 99
    checks = [("model", "ok", "[b]m"), ("answer", "warning", "weak"), ("stopped", "broken", "why")]
    findings = [dict(zip(("check", "state", "detail"), one, strict=True)) for one in checks]
    assert lines(findings_view(findings)) == ["model ok [b]m", "answer warning weak", "stopped broken why"]


def test_a_training_set_is_shown_with_its_first_questions() -> None:
    part = {"rows": 1000, "yes": 500, "no": 500, "users": 60}
    document = {
        "train": part, "validation": {**part, "rows": 128}, "tokens": {"p50": 210},
        "split": {"kind": "users", "validation_from": None, "test_from": None}, "history_shortened": 2,
        "descriptions_shortened": 0, "rows": [{"prompt": "Judge.\n\x1b[2JA film", "completion": "Yes", "tokens": 9}],
    }  # fmt: skip
    shown = lines(questions_view(document))
    assert shown[:3] == ["questions positives negatives users", "train 1,000 500 500 60", "validation 128 500 500 60"]
    assert "Validation: a tenth of the users. Test: another tenth." in shown
    assert shown[-2:] == ["Judge.", "[2JA filmYes"] and "question 1, 9 tokens" in shown[-3]


def test_the_outcome_of_a_training_says_what_was_gained_and_how_exact_it_is() -> None:
    auc = {"auc": {"value": 0.61, "ci95": [0.5, 0.7]}}
    none = {"auc": {"value": None, "ci95": [None, None]}}
    parity = {"median_dz": 0.001, "max_dz": 0.02, "rank_correlation": 0.9999}
    document: dict[str, Any] = {
        "name": "mine", "active": False, "curve": "/c.png", "parity": {"adapter": parity, "merged": parity},
        "metrics": {"before": none, "after": auc, "merged": auc, "recall": auc, "fused": auc,
                    "calibration_error": {"before": 0.2, "after": 0.05, "fused": 0.04}},
        "files": {"adapter": {"quantisation": "f16", "bytes": 1e6}, "merged": {"quantisation": "q8_0", "bytes": 1e8}},
    }  # fmt: skip
    steps = [Step(1, 0.7, None, None, None, 10, 1.0, 1e-3), Step(2, 0.6, 0.6, 0.5, 0.7, 20, 2.0, 1e-3)]
    shown = lines(outcome_view(document, steps))
    assert "before training - -" in shown and "merged, q8_0 0.610 0.500 to 0.700" in shown
    assert "merged, q8_0 0.0010 0.0200 0.9999 100 MB" in shown
    last = " ".join(shown)
    assert "Calibration error 0.200 of p(yes), 0.040 of the calibrated score. " in last
    assert "Adapter mine is registered but not active yet." in last
    document["active"] = True
    del document["metrics"]["calibration_error"]["fused"]  # an older adapter
    last = " ".join(lines(outcome_view(document, steps)))
    assert "Calibration error 0.200 of p(yes). Adapter mine is registered and active." in last
