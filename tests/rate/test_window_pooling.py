"""Max pooling in three places and adaptive: the rate is the time mean, the gradient that of each step's own
routing, averaged over the steps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn

import rbp
from rbp.rate import NoRuleError
from rbp.rate.registry import find_rule
from rbp.rate.rules.pooling import WinsTrace
from tests.support.networks import BPTT, RATE, After, apart, kept_bytes, lif, step

LINE, PLANE, SPACE = (6, 13), (5, 9, 8), (3, 5, 7, 8)
POOLS = {
    "3d": (lambda: nn.MaxPool3d(2), SPACE),
    "3d of planes": (lambda: nn.MaxPool3d((1, 3, 3), 1, (0, 1, 1)), SPACE),
    "3d ceil": (lambda: nn.MaxPool3d((2, 3, 3), (3, 2, 3), (1, 1, 0), ceil_mode=True), SPACE),
    "3d, a last window in the padding": (lambda: nn.MaxPool3d(2, 3, 1, ceil_mode=True), SPACE),
    "3d dilated": (lambda: nn.MaxPool3d((2, 2, 3), (1, 2, 1), (0, 1, 1), (3, 2, 1)), SPACE),
    "adaptive 1d": (lambda: nn.AdaptiveMaxPool1d(5), LINE),
    "adaptive 1d to more": (lambda: nn.AdaptiveMaxPool1d(17), LINE),
    "adaptive 2d": (lambda: nn.AdaptiveMaxPool2d((4, None)), PLANE),
    "adaptive 2d to one": (lambda: nn.AdaptiveMaxPool2d(1), PLANE),
    "adaptive 3d": (lambda: nn.AdaptiveMaxPool3d((2, 3, 8)), SPACE),
}


def net_with(name: str) -> Callable[[], nn.Module]:
    layer, shape = POOLS[name]
    return lambda: After(layer(), shape)


def x_for(name: str, T: int) -> Tensor:
    return torch.randn(T, 3, *POOLS[name][1], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize(
    "pool", [nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)), nn.AdaptiveMaxPool3d((5, 3, 4))]
)
def test_images_without_an_axis_of_channels_are_pooled_as_torch_does(pool: nn.Module, step_mode: str) -> None:
    """torch takes [B, C, H, W] for B channels of three places: so a network may pool images in the plane."""
    how: dict[str, Any] = {"step_mode": step_mode}
    x = x_for("adaptive 2d", 4)
    assert apart(lambda: After(pool, PLANE), x[:1], RATE | how, BPTT | how) < 1e-9
    torch.manual_seed(0)
    net = After(pool, PLANE)
    torch.testing.assert_close(step(net, x, **RATE, **how)[0], step(net, x, **BPTT, **how)[0])


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("name", POOLS)
def test_at_one_step_rate_is_bptt(name: str, step_mode: str) -> None:
    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(net_with(name), x_for(name, 1), RATE | how, BPTT | how) < 1e-9


@pytest.mark.parametrize("steps", [3, 300])
@pytest.mark.parametrize("name", POOLS)
def test_the_gradient_is_the_mean_of_every_steps_own(name: str, steps: int) -> None:
    """By torch's own backward, one step after another; more than 255 steps do not fit into a byte."""
    layer, shape = POOLS[name][0](), POOLS[name][1]
    torch.manual_seed(0)
    x_seq = torch.randint(0, 5, (steps, 2, *shape)).double() / 4
    steps_in = [x.clone().requires_grad_() for x in x_seq]
    outputs = torch.stack([layer(x) for x in steps_in])
    grad = torch.randn_like(outputs[0])
    expected = torch.stack(torch.autograd.grad((outputs.mean(0) * grad).sum(), steps_in)).sum(0)

    rule, trace, rate = find_rule(layer), WinsTrace(steps), x_seq.mean(0).requires_grad_()
    assert rule is not None
    with torch.no_grad():
        for part in x_seq.split(2):
            torch.testing.assert_close(rule.spikes(layer, part, trace), torch.stack([layer(x) for x in part]))
    y = rule.rate(layer, rate, trace)
    torch.testing.assert_close(y, outputs.mean(0), rtol=1e-12, atol=1e-12)
    (found,) = torch.autograd.grad(y, rate, grad)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", POOLS)
def test_the_output_is_that_of_the_spikes_and_every_way_of_running_is_the_same(name: str) -> None:
    torch.manual_seed(0)
    net, x = net_with(name)(), x_for(name, 4)
    by_rate, _ = step(net, x, per_step=True, **RATE)
    by_bptt, _ = step(net, x, per_step=True, **BPTT)
    torch.testing.assert_close(by_rate, by_bptt, rtol=1e-4, atol=1e-5)
    for how in ({"step_mode": "s"}, {"chunk": 3}):
        assert apart(net_with(name), x, RATE | how, RATE) < 1e-8
    still = x[:1].expand(4, *x.shape[1:])
    assert apart(net_with(name), still, RATE, RATE | {"step_mode": "s"}) < 1e-8


@pytest.mark.parametrize("name", ["3d of planes", "adaptive 2d"])
def test_what_is_kept_does_not_grow_with_the_steps(name: str) -> None:
    torch.manual_seed(0)
    net = net_with(name)()
    assert kept_bytes(net, x_for(name, 32)) == kept_bytes(net, x_for(name, 4))


def test_pooling_of_planes_is_that_of_two_places() -> None:
    """The kernel (1, 3, 3) on [B, C, 1, H, W], as Spike-Driven Transformer pools."""

    class InSpace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x.unsqueeze(2)).squeeze(2)

    x, gradients = x_for("adaptive 2d", 4), []
    for pool in (InSpace(), nn.MaxPool2d(3, 2, 1)):
        torch.manual_seed(0)
        gradients.append(step(After(pool, PLANE), x, **RATE))
    (y, g), (z, h) = gradients
    torch.testing.assert_close(y, z)
    for name in h:
        torch.testing.assert_close(g[name], h[name])


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.spiking = nn.Conv3d(2, 3, 3, padding=1), lif(v_threshold=0.3)
        self.last = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(self.spiking(self.first(x)), (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        x = F.adaptive_max_pool3d(x, (3, 3, 4))
        x = F.adaptive_max_pool2d(x.flatten(1, 2), (2, 3))
        return self.last(F.adaptive_max_pool1d(x.flatten(2), 4).unflatten(1, (3, 3)).mean(2).flatten(1))


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_called_as_functions_they_take_the_layers_rules(step_mode: str) -> None:
    x, how = (
        torch.randn(1, 2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
        {"step_mode": step_mode},
    )
    assert apart(Functional, x, RATE | how, BPTT | how) < 1e-9


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_spikingjellys_wrapper_sees_time_first(step_mode: str) -> None:
    def make() -> nn.Module:
        body = [sj.Conv3d(2, 3, 3, padding=1), lif(v_threshold=0.3), sj.MaxPool3d(2, 2)]
        return nn.Sequential(*body, sj.Flatten(), sj.Linear(48, 5))

    x = torch.randn(3, 2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(make, x[:1], RATE | how, BPTT | how) < 1e-9
    net = make()
    torch.testing.assert_close(step(net, x, **RATE, **how)[0], step(net, x, **BPTT, **how)[0])


@pytest.mark.parametrize(
    "pool",
    [
        *(nn.MaxPool3d(2, return_indices=True), nn.AdaptiveMaxPool3d(2, return_indices=True)),
        *(nn.FractionalMaxPool3d(2, 3), nn.LPPool3d(2.0, 2)),
    ],
)
def test_pooling_that_a_rate_cannot_go_through_is_refused(pool: nn.Module) -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = pool

        def forward(self, x: Tensor) -> Tensor:
            y = self.pool(x)
            return y[0] if isinstance(y, tuple) else y

    net = nn.Sequential(nn.Conv3d(2, 3, 1), lif(), First(), nn.Flatten())
    with pytest.raises(NoRuleError, match=r"2\.pool"):
        rbp.forward(net, torch.rand(2, 2, 2, 4, 6, 6))
