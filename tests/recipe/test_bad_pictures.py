"""A picture that went bad after it was read ends nothing: it is asked without, or not captioned, counted and told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from samples import Ran

from msr_local.catalogue.ingest import ingest
from msr_local.engine.fake import FakeEngine
from msr_local.engine.types import Question
from msr_local.errors import AnswerTokensError, EngineCrashed, ModelError, MsrError
from msr_local.models import choice
from msr_local.recipe import captions as module
from msr_local.recipe.explanations import explain
from msr_local.recipe.recommender import Recommender
from msr_local.store import histories
from msr_local.store.workspace import Workspace

ERRORS = [ModelError("no finite vectors of this picture."), EngineCrashed("the engine died.")]


class Picky(FakeEngine):
    """It fails over questions with chosen pictures, by a look at what it is shown."""

    def __init__(self, error: MsrError, bad: Callable[[Question], bool]) -> None:
        def watch(question: Question) -> None:
            if bad(question):
                raise error

        super().__init__(watch=watch)


@pytest.fixture
def looking(workspace: Workspace, shop: tuple[Path, Path], models: Path) -> Workspace:
    """A shop that a model with eyes looks at."""
    choice.use_model(workspace, models / "text.gguf", models / "eyes.gguf")
    ingest(workspace, *shop)
    return workspace


@pytest.fixture
def pictures(shop: tuple[Path, Path]) -> Path:
    return shop[0].parent / "img"


def spoil(path: Path) -> None:
    """As a disk does: nothing outside the file shows it."""
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def hashes(workspace: Workspace) -> dict[str, str]:
    return {item.item_id: str(item.image_sha256) for item in histories.items_with_image(workspace)}


def test_a_spoiled_picture_is_asked_without_and_all_others_with(looking: Workspace, pictures: Path) -> None:
    with Recommender(looking, open_engine=lambda _: FakeEngine()) as recommender:
        before = {one.item_id: one for one in recommender.recommend("u5", 3, 3, look=3, miss=0.0).items}
    spoiled = sorted(before)[0]
    looking.execute("DELETE FROM scores")
    spoil(pictures / f"{spoiled[1:]}.png")
    engine = FakeEngine()
    with Recommender(looking, open_engine=lambda _: engine) as recommender:
        after = {one.item_id: one for one in recommender.recommend("u5", 3, 3, look=3, miss=0.0).items}
        assert list(recommender.judge.unseen) == [spoiled] and "has changed" in recommender.judge.unseen[spoiled]
        told = recommender.recommend(recommender.stranger(["i1"]), 12, 12, look=12, miss=0.0)
        assert len(told.items) == 11
        assert explain(recommender, "u5", spoiled, 3, 3).item_id == spoiled
    assert set(after) == set(before)
    for item_id, one in after.items():
        assert (one.log_odds == before[item_id].log_odds) == (item_id != spoiled)


@pytest.mark.parametrize("error", ERRORS)
def test_a_picture_that_the_model_fails_over_is_asked_without(looking: Workspace, error: MsrError) -> None:
    bad = set(list(hashes(looking).values())[::2])
    engine = Picky(error, lambda question: question.image is not None and question.image.sha256 in bad)
    with Recommender(looking, open_engine=lambda _: engine) as recommender:
        found = recommender.recommend(recommender.stranger(["i1"]), 12, 12, look=12, miss=0.0)
        again = recommender.recommend("u5", 12, 12, look=12, miss=0.0)
        assert len(found.items) == 11 and again.items
        expected = {item_id for item_id, sha256 in hashes(looking).items() if sha256 in bad} - {"i1"}
        assert set(recommender.judge.unseen) == expected and set(recommender.judge.unseen.values()) == {str(error)}
    assert recommender.judge.unseen  # and what is kept of them is kept as asked without
    with Recommender(looking, open_engine=lambda _: FakeEngine()) as recommender:
        assert len(recommender.recommend("u5", 12, 12, look=12, miss=0.0).items) == len(again.items)


@pytest.mark.parametrize("error", [*ERRORS, AnswerTokensError("no token for yes.")])
def test_what_is_not_the_pictures_fault_is_an_error(looking: Workspace, error: MsrError) -> None:
    engine = Picky(error, lambda question: True)
    with Recommender(looking, open_engine=lambda _: engine) as recommender, pytest.raises(type(error)):
        recommender.recommend(recommender.stranger(["i1"]), 12, 12)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("bad", [[0], [3, 4, 5, 6, 7, 8], [0, 2, 4, 6, 8, 10], list(range(11))])
def test_a_picture_that_the_model_fails_over_is_the_only_one_without_caption(
    looking: Workspace, error: MsrError, bad: list[int]
) -> None:
    order = [str(item.image_sha256) for item in histories.items_with_image(looking)]
    wrong = {order[n] for n in bad}
    engine = Picky(error, lambda question: question.image is not None and question.image.sha256 in wrong)
    with Recommender(looking, open_engine=lambda _: engine) as recommender:
        run = recommender.captions.make()
    assert run.made == 12 - len(bad) and {reason for _, reason in run.failed} == {str(error)}
    assert {item.image_sha256 for item, _ in run.failed} == wrong


@pytest.mark.parametrize("error", ERRORS)
def test_a_model_that_fails_over_any_picture_stops_soon(looking: Workspace, error: MsrError) -> None:
    engine = Picky(error, lambda question: question.image is not None)
    seen: list[Question] = []
    engine._watch = _counted(seen, engine._watch)
    with (
        Recommender(looking, open_engine=lambda _: engine) as recommender,
        pytest.raises(type(error), match=str(error)),
    ):
        recommender.captions.make()
    assert len(seen) <= 1 + module._DOUBT + 1


def _counted(seen: list[Question], watch: Callable[[Question], None]) -> Callable[[Question], None]:
    def note(question: Question) -> None:
        seen.append(question)
        watch(question)

    return note


def test_the_command_line_tells_of_them(
    cli: Callable[..., Ran], looking: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = {**(Recommender.__init__.__kwdefaults__ or {}), "open_engine": lambda _: FakeEngine()}
    monkeypatch.setattr(Recommender.__init__, "__kwdefaults__", defaults)
    for n in range(12):
        spoil(pictures / f"{n}.png")
    ran = cli("recommend", "u0", "--look", "12", "-k", "8", "--json")
    assert ran.code == 0, ran.err
    assert len(ran.json["items"]) == 8 and "was asked about without its picture: " in ran.err
    assert "… and 3 others. Next: ingest again." in ran.err
    caption = cli("ingest", pictures.parent / "items.csv", pictures.parent / "interactions.csv", "--json")
    assert caption.code == 0 and caption.json["captions"]["failed"] == 12
    assert "No caption for item" in caption.err and "and none for 7 others" in caption.err


@pytest.fixture(autouse=True)
def _whole(looking: Workspace) -> Iterator[None]:
    yield
    assert looking.check() == "ok"
