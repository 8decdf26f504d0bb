"""Batches: sharing what questions have in common, padding and pictures change no answer and no gradient."""

from __future__ import annotations

import hashlib
import inspect
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from msr_local.engine.types import IMAGE_CELL
from msr_local.errors import InputError, ModelError
from msr_local.training.rows import NO, YES, Row

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytestmark = pytest.mark.usefixtures("one_thread")

from msr_local.training.backends import Backend, config_of, load_trainable  # noqa: E402
from msr_local.training.batches import (  # noqa: E402
    Answers,
    Collator,
    answer_logits,
    grouped,
    log_odds,
    ranking_loss,
)
from msr_local.training.pictures import pixels_of  # noqa: E402
from msr_local.training.settings import Settings  # noqa: E402

ANSWERS = Answers(100, 200, (100, 101, 102), (200, 201))
CELLS = 4  # of a picture


def trainable(folder: Path) -> Any:
    """The model with a LoRA that already does something, and no dropout."""
    model = load_trainable(Backend("peft", ""), folder, Settings(rank=4, dropout=0.0), cuda=False)
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


def collator(folder: Path, *, share: bool) -> Collator:
    return Collator(ANSWERS, pixels_of(folder), config_of(folder).get("image_token_id"), share)


@pytest.fixture(scope="module")
def llama(tiny_llama: Path) -> tuple[Any, Path]:
    return trainable(tiny_llama), tiny_llama


@pytest.fixture(scope="module", params=["idefics3", "smolvlm"])
def vlm(request: pytest.FixtureRequest, tiny_vlm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """SmolVLM and SmolVLM2 have the same weights under two names, and two ways to put pictures in their place."""
    folder = tiny_vlm
    if request.param == "smolvlm":
        folder = shutil.copytree(tiny_vlm, tmp_path_factory.mktemp("smolvlm") / "hf")
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "smolvlm", "architectures": ["SmolVLMForConditionalGeneration"]}
        config["vision_config"]["model_type"] = "smolvlm_vision"
        (folder / "config.json").write_text(json.dumps(config))
    return trainable(folder), folder


Make = Callable[..., list[Row]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Rows about one user: `make(user, common, ends)`, an end with or without a picture."""

    def rows(user: str, common: int, ends: Sequence[tuple[int, int | None]], alike: int = 0) -> list[Row]:
        draw = random.Random(f"{user} {common}")
        ids = [draw.randrange(20, 40_000) for _ in range(common + alike)]
        made = []
        for number, (length, shade) in enumerate(ends):
            own = [draw.randrange(20, 40_000) for _ in range(length)]
            suffix, sha256 = [("text", f"{number}")], ""
            if shade is not None:
                path = tmp_path / f"{user}-{number}.png"
                noise = np.random.default_rng(shade).integers(0, 256, (30 + shade, 50, 3), np.uint8)
                Pillow.fromarray(noise).save(path)
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                own[1:1] = [13, 14, *[IMAGE_CELL] * CELLS, 13]
                suffix.insert(0, ("image", str(path)))
            made.append(
                Row(
                    user, 3, f"i{number}", (YES, NO)[number % 2], (("text", user),), tuple(suffix), (*ids, *own),
                    0.5, sha256,
                )
            )  # fmt: skip
        return made

    return rows


def together(model: Any, folder: Path, rows: Sequence[Row], *, share: bool) -> tuple[Any, dict[str, Any]]:
    """Logits [R, vocabulary] and the gradients of one training step."""
    model.zero_grad()
    model.train()
    batch = collator(folder, share=share)(grouped(rows))
    logits = answer_logits(model, batch)
    torch.nn.functional.cross_entropy(logits, batch["answers"]).backward()
    gradients = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    return logits.detach(), gradients


def assert_same(model: Any, folder: Path, rows: Sequence[Row]) -> None:
    (shared, ours), (apart, theirs) = (together(model, folder, rows, share=share) for share in (True, False))
    assert shared.shape == (len(rows), 49152)
    assert shared.numpy() == pytest.approx(apart.numpy(), abs=2e-5)
    assert len({tuple(row[:50].tolist()) for row in apart}) == len(rows)  # the questions differ
    assert ours.keys() == theirs.keys() and all("lora_" in name for name in ours)
    for name, gradient in ours.items():
        scale = theirs[name].abs().max()
        assert scale > 0, name
        assert (gradient - theirs[name]).abs().max() < 1e-4 * scale, name


# ---- the tree


def test_text_groups_of_any_shape(llama: tuple[Any, Path], make: Make) -> None:
    groups = [
        make("a", 40, [(7, None), (9, None)]),
        make("b", 5, [(30, None), (1, None), (12, None)]),
        make("c", 60, [(3, None)]),
        make("d", 0, [(8, None), (8, None)]),  # nothing in common
        make("e", 20, [(4, None), (6, None)], alike=5),  # alike beyond the shared prefix
    ]
    assert_same(*llama, [row for group in groups for row in group])
    assert_same(*llama, groups[0])


def test_one_question_that_begins_another(llama: tuple[Any, Path], make: Make) -> None:
    (long,) = make("a", 20, [(10, None)])
    short = replace(long, ids=long.ids[:25], answer=NO)
    assert_same(*llama, [long, short])
    same = replace(long, item_id="again", answer=NO)
    model, folder = llama
    logits, _ = together(model, folder, [long, same], share=True)
    assert logits[0].numpy() == pytest.approx(logits[1].numpy(), abs=1e-5)


def test_the_common_part_is_computed_once(make: Make, tiny_llama: Path) -> None:
    rows = make("a", 40, [(7, None), (9, None), (5, None)])
    batch = collator(tiny_llama, share=True)(grouped(rows))
    assert batch["input_ids"].shape == (1, 40 + 7 + 9 + 5)
    assert batch["where"].tolist() == [[0, 46], [0, 55], [0, 60]]
    assert batch["position_ids"][0, 46:49].tolist() == [46, 40, 41]  # each end begins where the common part ends
    mask = batch["attention_mask"][0, 0]
    assert mask[50, :40].all() and mask[50, 47:51].all()
    assert not mask[50, 40:47].any() and not mask[50, 51:].any()  # neither its neighbours nor what comes after it
    apart = collator(tiny_llama, share=False)(grouped(rows))
    assert apart["input_ids"].shape == (3, 49) and apart["attention_mask"].shape == (3, 49)


@pytest.mark.parametrize(
    "ends",
    [
        [[(7, 1), (9, 2)]],  # a picture in each row
        [[(7, 1), (9, None), (6, 3)], [(4, None), (5, 4)], [(3, 5)]],  # mixed, with groups of several sizes
        [[(7, None), (9, None)], [(4, None), (5, 4)]],  # a line without any beside one with some
        [[(7, None), (9, None)], [(3, None)]],  # none at all
        [[(1, 1), (1, 2)]],  # pictures right behind the common part
    ],
    ids=["each", "mixed", "a line without", "none", "at once"],
)
def test_picture_groups(vlm: tuple[Any, Path], make: Make, ends: list[list[tuple[int, int | None]]]) -> None:
    rows = [row for number, one in enumerate(ends) for row in make(f"u{number}", 12 + 5 * number, one)]
    assert_same(*vlm, rows)


def test_every_picture_goes_to_its_own_question(vlm: tuple[Any, Path], make: Make) -> None:
    """Two questions that differ in nothing but their pictures."""
    model, folder = vlm
    first, second, third = make("a", 12, [(7, 1), (7, 2), (7, 3)])
    rows = [replace(row, ids=first.ids) for row in (first, second, third)]
    shared, _ = together(model, folder, rows, share=True)
    for number, row in enumerate(rows):
        alone, _ = together(model, folder, [row], share=False)
        assert shared[number].numpy() == pytest.approx(alone[0].numpy(), abs=2e-5)
        others = shared[[n for n in range(3) if n != number]]
        assert (others - alone).abs().amax(-1).min() > 1e-3


# ---- padding, order, arguments


@pytest.mark.parametrize("share", [True, False])
def test_padding_never_matters(vlm: tuple[Any, Path], make: Make, share: bool) -> None:
    model, folder = vlm
    short, long = make("a", 3, [(2, None)]), make("b", 90, [(30, 1), (9, None)])
    alone, _ = together(model, folder, short, share=share)
    both, _ = together(model, folder, [*short, *long], share=share)
    assert both[0].numpy() == pytest.approx(alone[0].numpy(), abs=2e-5)
    batch = collator(folder, share=share)(grouped([*short, *long]))
    filled = {**batch, "input_ids": batch["input_ids"].clone()}
    filled["input_ids"][0, 5:] = 777  # what stands in the padding
    assert answer_logits(model, filled).detach().numpy() == pytest.approx(both.numpy(), abs=2e-5)


def test_log_odds_keep_the_order_of_the_rows(llama: tuple[Any, Path], make: Make) -> None:
    model, folder = llama
    rows = [
        row for n, common in enumerate((50, 4, 33, 18, 70)) for row in make(f"u{n}", common, [(5, None), (9, None)])
    ]
    rows.insert(3, make("alone", 44, [(6, None)])[0])  # splits a group in two
    model.train()
    z = log_odds(model, rows, collator(folder, share=True), batch_size=4)
    assert model.training
    for number, row in enumerate(rows):
        logits = together(model, folder, [row], share=False)[0][0].double()
        yes, no = (logits[list(ids)].logsumexp(-1) for ids in (ANSWERS.all_yes, ANSWERS.all_no))
        assert z[number] == pytest.approx(float(yes - no), abs=2e-5)
    assert len(set(z.round(6))) == len(rows)
    assert log_odds(model, rows, collator(folder, share=False), batch_size=3) == pytest.approx(z, abs=2e-5)


@pytest.mark.parametrize("share", [True, False])
def test_a_model_that_does_not_know_logits_to_keep(llama: tuple[Any, Path], make: Make, share: bool) -> None:
    """Unsloth's fast forward on a GPU ignores a tensor and returns the logits of all positions."""
    model, folder = llama
    rows = [*make("a", 40, [(7, None), (9, None)]), *make("b", 5, [(30, None), (1, None)])]
    batch = collator(folder, share=share)(grouped(rows))

    def all_positions(*, logits_to_keep: Any, **inputs: Any) -> Any:
        return SimpleNamespace(logits=model(**inputs).logits)

    assert torch.equal(answer_logits(all_positions, batch), answer_logits(model, batch)) or (
        answer_logits(all_positions, batch).detach().numpy()
        == pytest.approx(answer_logits(model, batch).detach().numpy(), abs=2e-5)
    )


@pytest.mark.parametrize("share", [True, False])
def test_a_batch_holds_what_the_model_takes_and_what_the_loss_takes(
    llama: tuple[Any, Path], vlm: tuple[Any, Path], make: Make, share: bool
) -> None:
    text, pictures = make("a", 10, [(7, None), (9, None)]), make("b", 10, [(7, 1), (9, None)])
    for (model, folder), rows, more in ((llama, text, set()), (vlm, pictures, {"pixel_values"})):
        batch = collator(folder, share=share)(grouped(rows))
        known = {"input_ids", "attention_mask", "position_ids"} | more
        assert batch.keys() == known | {"where", "answers", "groups", "blend"}
        takes = inspect.signature(model.get_base_model().forward).parameters
        assert known | {"logits_to_keep", "use_cache"} <= takes.keys()
        assert batch["answers"].tolist() == [ANSWERS.yes, ANSWERS.no]
        assert (batch["input_ids"] >= 0).all()


def test_pictures_need_a_model_that_sees(make: Make, tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="text model"):
        collator(tiny_llama, share=True)(grouped(make("a", 10, [(7, 1)])))


def test_a_picture_that_changed_is_refused(make: Make, tiny_vlm: Path) -> None:
    (row,) = make("a", 10, [(7, 1)])
    assert row.image is not None
    Pillow.new("RGB", (9, 9)).save(row.image)
    with pytest.raises(InputError, match="has changed"):
        collator(tiny_vlm, share=True)([[row]])


def test_the_ranking_loss_is_the_log_softmax_of_what_was_taken() -> None:
    z = torch.tensor([2.0, 0.5, -1.0, 0.0, 3.0, 1.0])
    groups, yes = torch.tensor([0, 0, 0, 4, 4, 7]), torch.tensor([True, False, False, False, True, True])
    by_hand = [
        -np.log(np.exp(2) / (np.exp(2) + np.exp(0.5) + np.exp(-1))),
        -np.log(np.exp(3) / (1 + np.exp(3))),
        0.0,  # nothing beside it
    ]
    assert ranking_loss(z, groups, yes).item() == pytest.approx(np.mean(by_hand), rel=1e-5)
