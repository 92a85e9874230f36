"""The optimizer's groups and its learning rate, against torch's own schedule and the paper's recipe."""

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from rbp.errors import ConfigError
from rbp.models import build
from rbp.train.optimizer import build_optimizer, lr_factor
from tests.support.configs import make


def test_the_recipe_of_the_paper() -> None:
    cfg = make("dataset=cifar10", "arch=resnet18", "neuron=plif")
    net = build(cfg)
    optimizer, _ = build_optimizer(cfg, net)
    assert isinstance(optimizer, torch.optim.SGD)
    decayed, others = optimizer.param_groups
    assert decayed["weight_decay"] == 5e-4 and others["weight_decay"] == 0.0
    assert {decayed["lr"], others["lr"]} == {0.1} and {decayed["momentum"], others["momentum"]} == {0.9}
    weights = {id(m.weight) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {id(p) for p in decayed["params"]} == weights
    assert len(decayed["params"]) + len(others["params"]) == len(list(net.parameters()))


def test_the_cosine_is_torchs_own_to_zero() -> None:
    net = nn.Linear(1, 1)
    reference = CosineAnnealingLR(torch.optim.SGD(net.parameters(), lr=1.0), T_max=300)
    for epoch in range(300):
        assert lr_factor("cosine", 0, 300, epoch) == pytest.approx(reference.get_last_lr()[0], abs=1e-9)
        reference.optimizer.step()
        reference.step()
    assert lr_factor("cosine", 0, 300, 300) == pytest.approx(0, abs=1e-12)


def test_warmup_rises_in_equal_steps_to_the_full_rate() -> None:
    assert [lr_factor("cosine", 4, 10, e) for e in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert [lr_factor("constant", 1, 10, e) for e in range(3)] == pytest.approx([0.5, 1.0, 1.0])


def test_adamw_has_a_rate_and_betas_of_its_own() -> None:
    cfg = make("optimizer=adamw", "optimizer.betas=[0.8,0.9]")
    optimizer, _ = build_optimizer(cfg, build(cfg))
    assert isinstance(optimizer, torch.optim.AdamW)
    group = optimizer.param_groups[0]
    assert (group["lr"], list(group["betas"]), group["weight_decay"]) == (1e-3, [0.8, 0.9], 0.01)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_weight_decay_is_part_of_adams_gradient_and_apart_from_adamws(name: str) -> None:
    """In a first step the moments are g and g^2, so Adam moves every weight by lr * sign(g)."""
    cfg = make(f"optimizer={name}", "optimizer.lr=0.1", "optimizer.weight_decay=0.5")
    net = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[4.0, -4.0, 4.0]]))
    optimizer, _ = build_optimizer(cfg, net)
    net.weight.grad = torch.tensor([[1.0, 1.0, -3.0]])
    optimizer.step()
    # adam: g + 0.5 w is 3, -1, -1. adamw: w shrinks by lr * 0.5, and g has signs +, +, -.
    moved = {"adam": [3.9, -3.9, 4.1], "adamw": [3.8 - 0.1, -3.8 - 0.1, 3.8 + 0.1]}[name]
    assert net.weight[0].tolist() == pytest.approx(moved, abs=1e-5)
    assert type(optimizer) is {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]


def test_adam_decays_nothing_unless_told() -> None:
    cfg = make("optimizer=adam")
    optimizer, _ = build_optimizer(cfg, build(cfg))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 0]


def test_a_shared_weight_is_in_one_group_once() -> None:
    one = nn.Linear(3, 3)
    two = nn.Linear(3, 3)
    two.weight = one.weight
    optimizer, _ = build_optimizer(make(), nn.Sequential(one, two))
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 2]


def test_a_key_that_the_optimizer_does_not_take_is_refused() -> None:
    cfg = make("+optimizer.nestrov=true")
    with pytest.raises(ConfigError, match=r"optimizer=sgd: torch.optim.SGD: .*nestrov"):
        build_optimizer(cfg, build(cfg))
