"""Pooled dropout is dropout: its rate, its scale, its independence, its place in a LoRA, its seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from msr_local.training.backends import Backend, load_trainable  # noqa: E402
from msr_local.training.dropout import PooledDropout, pool_dropout  # noqa: E402
from msr_local.training.settings import Settings  # noqa: E402


@pytest.fixture(scope="module")
def lora(tiny_llama: Path) -> Any:
    model = load_trainable(Backend("peft", ""), tiny_llama, Settings(dropout=0.25), cuda=False)
    pool_dropout(model, seed=3)
    return model


@pytest.fixture
def layer(lora: Any) -> PooledDropout:
    return next(module for module in lora.modules() if isinstance(module, PooledDropout)).train()


def test_every_dropout_of_the_lora_is_replaced_and_nothing_is_saved_of_it(lora: Any) -> None:
    layers = [module for name, module in lora.named_modules() if name.endswith("lora_dropout.default")]
    assert len(layers) == 14 and all(isinstance(one, PooledDropout) and one.p == 0.25 for one in layers)
    assert not [name for name in lora.state_dict() if "dropout" in name]


def test_rate_and_scale(layer: PooledDropout) -> None:
    kept = layer(torch.ones(400, 500))
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (kept == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert kept.mean().item() == pytest.approx(1.0, abs=0.01)


def test_masks_differ_from_call_to_call_and_come_again_with_the_seed(layer: PooledDropout) -> None:
    x = torch.ones(100, 100)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    same = ((first == 0) == (second == 0)).float().mean().item()
    assert same == pytest.approx(0.25**2 + 0.75**2, abs=0.02)  # independent


def test_nothing_is_dropped_in_use(layer: PooledDropout) -> None:
    x = torch.randn(7, 5)
    assert layer.eval()(x) is x


def test_the_gradient_is_that_of_the_mask(layer: PooledDropout) -> None:
    x = torch.ones(30, 20, requires_grad=True)
    y = layer.train()(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_more_than_the_pool_holds(layer: PooledDropout) -> None:
    small = PooledDropout(0.5, torch.ones(32)).train()
    assert (small(torch.ones(1000)) == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
