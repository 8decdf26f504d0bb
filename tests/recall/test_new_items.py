"""Items that come after recall was learned: read at once, by the model that was there, and only they."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msr_local.arrays import Floats
from msr_local.catalogue.ingest import ingest
from msr_local.errors import ModelError
from msr_local.recall import learning
from msr_local.recall.candidates import RECALL_WEIGHT
from msr_local.recall.current import CurrentRecall
from msr_local.recall.similar import alike
from msr_local.store import results
from msr_local.store.workspace import Workspace, now

THEMES = ("ships", "cats", "wars", "songs", "banks")
EACH, PEOPLE = 8, 240
FILMS = [f"i{n},Film {n} of {THEMES[n // EACH]}" for n in range(EACH * len(THEMES))]
UNSEEN = f"unseen,Film {len(FILMS)} of something"  # is there, and nobody takes it


class Words:
    """A reader that sees the words of the themes in a text, and nothing else."""

    def __init__(self, settings: str = "words") -> None:
        self.settings, self.read = settings, list[str]()

    def of(self, texts: Sequence[str]) -> Floats:
        if self.settings == "blind":
            raise ModelError("the model gives no vectors of texts.")
        self.read += texts
        return np.array([[theme in text for theme in THEMES] for text in texts], np.float32)


class Captions:
    settings = "s"

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def known(self) -> dict[str, str]:
        return dict(self._workspace.execute("SELECT item_id, caption FROM captions").fetchall())

    def write(self, item_id: str, text: str) -> None:
        self._workspace.execute("INSERT INTO captions VALUES (?, 's', 'k', ?, 'x', 'm', '2999-01-01')", [item_id, text])


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a workspace that has learned, and of its files."""
    folder = tmp_path_factory.mktemp("school")
    lot, rows = random.Random(0), []
    for user in range(PEOPLE):
        theme = user % len(THEMES) * EACH
        rows += [f"u{user},i{n},{step}" for step, n in enumerate(lot.sample(range(theme, theme + EACH), 5))]
    (folder / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows))
    (folder / "items.csv").write_text("\n".join(["item_id,title", *FILMS, UNSEEN]))
    with Workspace(folder / "home") as workspace:
        ingest(workspace, folder / "items.csv", folder / "log.csv")
        CurrentRecall(workspace, Words(), Captions(workspace)).learn()
        # There is too little to learn here; what would be learned of new items from more:
        untaken = json.dumps({"expected": 1.2, "read": [0.5, 0.1, 0.1, 0.1], "nats": -1.0, "start": 1.5})
        workspace.execute(
            "UPDATE learned_recall SET facts = json_set(facts, '$.used', json('true')),"
            " fusion = json_set(fusion, '$.untaken', json(?))",
            [untaken],
        )
    return folder


@pytest.fixture
def taught(school: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(school, tmp_path / "school")
    with Workspace(tmp_path / "school" / "home") as workspace:
        yield workspace


def come(workspace: Workspace, *items: str) -> None:
    """Ingest more items."""
    folder = workspace.home.parent
    with (folder / "items.csv").open("a") as file:
        file.write("".join(f"\n{one}" for one in items))
    ingest(workspace, folder / "items.csv", folder / "log.csv")


def place(made: CurrentRecall, item_id: str, theme: int = 0) -> int:
    """The rank of an item after two films of a theme."""
    history = [f"i{theme * EACH}", f"i{theme * EACH + 1}"]
    return [one.item_id for one in made.now().candidates(history, 99)].index(item_id)


def test_for_items_that_are_alike_nothing_is_read(taught: Workspace) -> None:
    """`similar` asks no model, and knows new items all the same."""
    come(taught, "new,Film 41 of cats")
    reader = Words()
    made = CurrentRecall(taught, reader, Captions(taught))
    assert {one.item_id for one in alike(made.by_hand(), "new", EACH)} == {f"i{EACH + n}" for n in range(EACH)}
    assert not reader.read and made.now().learned is not None and reader.read


def test_without_new_items_nothing_is_read(taught: Workspace) -> None:
    reader = Words()
    made = CurrentRecall(taught, reader, Captions(taught))
    assert made.now().learned is not None and not reader.read and not made.unread


def test_a_new_item_is_recalled_by_its_text_at_once(taught: Workspace) -> None:
    reader, captions = Words(), Captions(taught)
    made = CurrentRecall(taught, reader, captions)
    made.now()
    come(taught, "new,A sequel with ships", "other,A sequel with cats")
    towers = made.now().learned.towers  # type: ignore[union-attr]
    assert reader.read == ["A sequel with ships", "A sequel with cats"] and not made.unread
    history, both = np.array([0, 1], np.int32), np.array([len(FILMS) + 1, len(FILMS) + 2])
    assert towers(history, both)[0] > towers(history, both)[1] + 1
    assert place(made, "new") < place(made, "other")
    assert place(made, "new", theme=1) > place(made, "other", theme=1)
    made.now()
    assert len(reader.read) == 2


def test_a_new_item_has_more_than_an_old_one_of_the_same_text(taught: Workspace) -> None:
    """Nobody took either: but of the new one that says nothing yet."""
    Captions(taught).write("unseen", "of ships")
    taught.execute("UPDATE captions SET created = '2000-01-01'")  # as if it had been there
    come(taught, f"new,{UNSEEN.partition(',')[2]} of ships")
    recall = CurrentRecall(taught, Words(), Captions(taught)).now()
    learned = recall.learned
    learned.towers.items[-2], learned.towers.bias[-2] = learned.towers.items[-1], learned.towers.bias[-1]  # type: ignore
    new, old = recall.candidate(["i0", "i1"], "new"), recall.candidate(["i0", "i1"], "unseen")
    assert new.recall == pytest.approx(old.recall + 1.5 / RECALL_WEIGHT)
    for one in (new, old):  # no taker stands for it
        assert {name for name, share in one.shares.items() if share} <= {"text", "words", "towers"}


def test_a_caption_that_comes_later_is_read_too(taught: Workspace) -> None:
    """That of a new item, and of one that was there and that nobody took; who was taken is as it was learned."""
    reader, captions = Words(), Captions(taught)
    made = CurrentRecall(taught, reader, captions)
    come(taught, "new,Nothing said")
    made.now()
    learned = made.now().learned.towers.items  # type: ignore[union-attr]
    for item_id in ("new", "unseen", "i3"):
        captions.write(item_id, "A picture of ships.")
    reader.read.clear()
    now = made.now().learned.towers.items  # type: ignore[union-attr]
    assert reader.read == [f"Film {len(FILMS)} of something A picture of ships.", "Nothing said A picture of ships."]
    assert now[-1] == pytest.approx(now[-2]) and (now[-2:] != learned[-2:]).any()
    assert (now[:-2] == learned[:-2]).all()


def test_a_caption_written_while_it_is_learned_is_read_too(taught: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process; the texts that are learned from had been read before."""
    made, learned_from = CurrentRecall(taught, Words(), Captions(taught)), learning.learned_from

    def meanwhile(*how: Any) -> Any:
        taught.execute("INSERT INTO captions VALUES ('unseen', 's', 'k', 'Of ships.', 'x', 'm', ?)", [now()])
        return learned_from(*how)

    monkeypatch.setattr("msr_local.recall.learning.learned_from", meanwhile)
    taught.execute("DELETE FROM learned_recall")
    made.learn()
    assert results.captioned_since_learning(taught, "s") == {"unseen"}


def test_what_comes_while_the_tables_are_made_is_there_the_next_time(
    taught: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = Captions(taught)

    def meanwhile(*_: object) -> None:  # in another process
        monkeypatch.undo()
        come(taught, "late,Nothing said")
        captions.write("late", "A picture of ships.")

    monkeypatch.setattr("msr_local.recall.kept.save", meanwhile)
    made = CurrentRecall(taught, Words(), captions)
    assert "late" not in made.now().index and "late" in made.now().index


@pytest.mark.parametrize(("settings", "why"), [("blind", "gives no vectors"), ("another", "another model")])
def test_where_they_cannot_be_read_they_are_like_the_least_taken(taught: Workspace, settings: str, why: str) -> None:
    if settings == "blind":  # by the same name
        saved = taught.one("SELECT towers FROM learned_recall")
        arrays = dict(np.load(io.BytesIO(saved)))
        arrays["reader"] = np.array("blind")
        kept(taught, arrays)
    come(taught, "new,A sequel with ships")
    made = CurrentRecall(taught, Words(settings), Captions(taught))
    recall = made.now()
    assert why in made.unread and "new items (1)" in made.unread
    towers = recall.learned.towers  # type: ignore[union-attr]
    assert not towers.items[-1].any() and towers.bias[-1] == towers.bias.min()
    assert "new" in {one.item_id for one in recall.candidates(["i0"], 99)}


def test_what_an_earlier_release_learned_is_used_as_before(taught: Workspace) -> None:
    arrays = dict(np.load(io.BytesIO(taught.one("SELECT towers FROM learned_recall"))))
    kept(taught, {name: arrays[name] for name in ("items", "bias", "layer")})
    made = CurrentRecall(taught, Words(), Captions(taught))
    assert made.now().learned is not None and not made.unread
    come(taught, "new,A sequel with ships")
    assert not made.now().learned.towers.items[-1].any()  # type: ignore[union-attr]
    assert "earlier release" in made.unread


def kept(workspace: Workspace, arrays: dict[str, np.ndarray]) -> None:
    file = io.BytesIO()
    np.savez(file, **arrays)
    workspace.execute("UPDATE learned_recall SET towers = ?", [file.getvalue()])


def test_what_an_earlier_release_learned_weighs_all_items_alike_until_it_is_learned_again(taught: Workspace) -> None:
    taught.execute("UPDATE learned_recall SET fusion = json_remove(fusion, '$.untaken'), key = 'of before'")
    made = CurrentRecall(taught, Words(), Captions(taught))
    assert made.now().learned.untaken is None  # type: ignore[union-attr]
    made.learn()
    assert taught.one("SELECT key FROM learned_recall") != "of before"
