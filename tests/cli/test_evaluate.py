"""`msr-local evaluate` at a terminal, in a pipe, and with what cannot be."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import Ran

Cli = Callable[..., Ran]
QUICK = ("--negatives-per-positive", "4", "--fast", "--recipe", "history")


@pytest.fixture
def stocked(cli: Cli, shop: tuple[Path, Path], models: Path) -> None:
    assert cli("models", "use", "--model", models / "text.gguf").code == 0
    assert cli("ingest", *shop, "--no-captions").code == 0


def test_the_json_document_is_the_contract(cli: Cli, stocked: None) -> None:
    done = cli("evaluate", *QUICK, "--users", "5", "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["protocol"], found["users"], found["candidates"], found["seed"]) == ("last", 5, 5, 0)
    for metrics in (found["metrics"], *found["baselines"].values()):
        for name in ("auc", "auc_per_user", "hr@5", "mrr@5", "ndcg@5"):
            assert set(metrics[name]) == {"value", "ci95"} and len(metrics[name]["ci95"]) == 2
    assert len(found["model"]["sha256"]) == 64


def test_a_person_reads_a_table(cli: Cli, stocked: None) -> None:
    done = cli("evaluate", *QUICK, "--no-model", "--negatives", "popularity")
    assert done.code == 0, done.err
    head, _, table = done.out.partition("\n\n")
    assert head.startswith("Protocol last, each user's last items held back:")
    assert "4 popularity negatives." in " ".join(head.split())
    assert any(line.startswith("blend of baselines") and "±" in line for line in table.splitlines())
    assert max(map(len, done.out.splitlines())) <= 80


def test_without_questions_the_model_only_reads(cli: Cli, stocked: None) -> None:
    done = cli("evaluate", *QUICK, "--no-questions")
    assert done.code == 0, done.err
    assert "blend that reads - blend of baselines:" in " ".join(done.out.split())
    assert any(line.startswith("two towers that read ") for line in done.out.splitlines())
    assert "language model" not in done.out and "Adapter" not in done.err
    assert max(map(len, done.out.splitlines())) <= 80


def test_cold_items_have_a_table_of_their_own(cli: Cli, models: Path) -> None:
    films = Path(__file__).parents[1] / "films"
    assert cli("models", "use", "--model", models / "text.gguf").code == 0
    assert cli("ingest", films / "items.csv", films / "interactions.csv", "--no-captions").code == 0
    options = ("--protocol", "cold-items", "--users", "4", "--candidates", "5", "--fast", "--recipe", "history")
    done = cli("evaluate", *options)
    assert done.code == 0, done.err
    said = done.out.splitlines()
    assert said[0].startswith("Protocol cold-items, nothing known of ")
    titles = ("Asked for one of these items", "Asked for another item", "Both together")
    parts = [said.index(one) for one in (*titles, "Asked for one of these items, and only they are ranked")]
    assert parts == sorted(parts)
    assert sum(line.startswith("towers without ids ") for line in said) == 4
    assert sum(line.startswith("recommended - language model: hr@10 ") for line in said) == 4
    ablated = cli("evaluate", *options, "--ablation")
    assert ablated.code == 0, ablated.err
    assert "The same, asked for items that nothing is known of:" in ablated.out
    assert max(map(len, [*said, *ablated.out.splitlines()])) <= 80


def test_the_ablation_is_a_table_too(cli: Cli, stocked: None) -> None:
    done = cli("evaluate", *QUICK, "--ablation", "--users", "2")
    assert done.code == 0, done.err
    assert "history shuffled" in done.out and "direct" not in done.out  # that recipe has no summary
    assert "untuned" not in done.out  # this model never is anything else


def test_an_ablation_asks_the_untuned_model_beside_the_tuned_one(
    cli: Cli, shop: tuple[Path, Path], tmp_path: Path
) -> None:
    assert cli("ingest", *shop, "--no-captions").code == 0
    done = cli("evaluate", *QUICK, "--ablation", "--users", "1", "--json")
    assert done.code == 0, done.err
    assert list(done.json["variants"])[:2] == ["history", "untuned"]
    assert done.json["model"]["adapter"] == "general"
    with sqlite3.connect(tmp_path / "home" / "msr.db") as connection:
        asked = connection.execute("SELECT count(DISTINCT log_odds), count(*) FROM answers").fetchone()
    assert asked == (25, 25)  # five of each variant: without pictures, no-image is full, and is not asked again


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--protocol", "temporal", "--split", "users"], 1, "cannot use --split users. Next: --split time"),
        (["--core", "900,900"], 1, "there are no test users among 0 users"),
        (["--core", "many"], 2, "is not two counts, as in 7,5"),
        (["--protocol", "best"], 2, "Invalid value for '--protocol'"),
        (["--negatives", "nearly"], 2, "Invalid value for '--negatives'"),
        (["popularity"], 2, "unexpected extra argument"),  # the kind is an option, as in finetune
    ],
)
def test_what_cannot_be_says_why(cli: Cli, stocked: None, arguments: list[str], code: int, said: str) -> None:
    done = cli("evaluate", *QUICK, *arguments)
    assert done.code == code
    assert said in " ".join(done.err.split())


def test_an_empty_workspace_has_nobody_to_ask(cli: Cli) -> None:
    done = cli("evaluate", "--no-model")
    assert done.code == 1 and "there are no test users among 0 users" in done.err


def test_the_baselines_need_no_model(cli: Cli, shop: tuple[Path, Path], models: Path, tmp_path: Path) -> None:
    """Neither one that is gone, nor the embedded one, which is not prepared for it."""
    gone = tmp_path / "gone.gguf"
    gone.write_bytes((models / "text.gguf").read_bytes())
    assert cli("models", "use", "--model", gone).code == 0
    assert cli("ingest", *shop, "--no-captions").code == 0
    expected = cli("evaluate", *QUICK, "--no-model", "--json").json
    gone.unlink()
    without = cli("evaluate", *QUICK, "--no-model", "--json")
    assert without.code == 0 and "gone.gguf" in without.err and "goes on without" in without.err
    assert without.json["baselines"] == expected["baselines"]
    assert cli("evaluate", *QUICK).code == 1


def test_the_embedded_model_is_not_prepared_for_baselines(
    cli: Cli, shop: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cli("ingest", *shop, "--no-captions").code == 0
    done = cli("evaluate", *QUICK, "--no-model", "--json")
    assert done.code == 0 and "not prepared yet" in done.err
    assert not list((tmp_path / "cache").rglob("*.gguf"))
