"""Scaled weight standardisation: its formula, and training with it in every gradient mode."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rbp.models import build
from rbp.models.standardised import SPIKING, ScaledWSConv2d, ScaledWSLinear
from tests.support.configs import make
from tests.support.networks import distance
from tests.support.online import Seen, leaky_sums, trained, weight_gradient
from tests.support.segments import lif


@pytest.mark.parametrize("gamma", [1.0, SPIKING])
def test_each_output_channels_weights_have_mean_0_and_variance_gamma_squared_over_n(gamma: float) -> None:
    layer = ScaledWSConv2d(3, 5, 3, padding=1, gamma=gamma)
    parts = dict(layer.named_parameters())
    gains, own = parts["parametrizations.weight.0.gain"], parts["parametrizations.weight.original"]
    nn.init.uniform_(gains, 0.5, 2.0)
    weight: Any = layer.weight
    rows = weight.detach().flatten(1)
    torch.testing.assert_close(rows.mean(1), torch.zeros(5), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        rows.var(1, correction=0), gamma**2 * gains.detach() ** 2 / 27, rtol=1e-4, atol=0
    )
    for row, weights in zip(rows, own.detach().flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([row, weights]))[0, 1] > 0.9999


def test_it_keeps_the_variance_of_what_comes_in() -> None:
    x = torch.randn(4000, 200, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    y = ScaledWSLinear(200, 50, bias=False, gain=False)(x)
    assert y.var().item() == pytest.approx(1.0, rel=0.05)


def test_the_networks_have_it_by_a_key() -> None:
    net = build(make("arch.norm=weight"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert sum(isinstance(module, ScaledWSConv2d) for module in net.modules()) == 3
    copied = copy.deepcopy(net)
    copied.load_state_dict(net.state_dict())
    plain = build(make())
    assert not any(isinstance(module, ScaledWSConv2d) for module in plain.modules())


def test_it_trains_in_every_gradient_mode_and_at_one_step_alike() -> None:
    net = build(make("arch.norm=weight")).double()
    x, labels = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double(), torch.arange(8)

    def loss(y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(y, labels)

    one = {m: trained(net, x, loss, grad_mode=m, T=1)[1] for m in ("bptt", "rate", "sltt", "ottt")}
    assert all(distance(found, one["bptt"]) < 1e-9 for found in one.values())
    assert all(g.abs().sum() > 0 for g in one["bptt"].values())
    many = {
        m: trained(net, x, loss, grad_mode=m, T=4, over="steps", step_mode="s")[1] for m in ("sltt", "ottt")
    }
    by_segments = trained(
        net, x, loss, grad_mode="rate", T=4, over="steps", step_mode="s", segments=4, coupled=False
    )[1]
    assert distance(many["sltt"], by_segments) < 1e-9 and distance(many["ottt"], by_segments) > 1e-3


def test_in_ottt_standardised_weights_see_the_trace() -> None:
    torch.manual_seed(0)
    layer = ScaledWSLinear(6, 6, gamma=SPIKING)
    net = nn.Sequential(nn.Linear(4, 6), lif(), layer, lif(), nn.Linear(6, 3)).double()
    x = torch.randn(4, 3, 4).double()
    seen = Seen(layer)

    def loss(y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(y, torch.arange(3))

    trained(net, x, loss, grad_mode="sltt")
    at_weight = weight_gradient(nn.Linear(6, 6).double(), leaky_sums(seen.inputs, 0.5), seen.grads)
    own, weight = dict(layer.named_parameters())["parametrizations.weight.original"], layer.weight
    assert isinstance(weight, torch.Tensor)
    (expected,) = torch.autograd.grad(weight, own, at_weight)
    found = trained(net, x, loss, grad_mode="ottt")[1]["2.parametrizations.weight.original"]
    torch.testing.assert_close(found, expected)
