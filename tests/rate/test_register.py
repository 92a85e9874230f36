"""A layer of one's own in rate mode: the examples of rbp/rate/rules/base.py, run."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rbp
from rbp.rate import CommutingRule, NoRuleError, Rule, Trace, register
from rbp.rate.registry import find_rule
from rbp.rate.rules.base import Exact
from tests.support.networks import BPTT, RATE, apart, lif, step


class Smooth(nn.Module):
    """Commutes with the time mean, but by a function that the engine does not know."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x)[..., :3], n=x.shape[-1])


class Attend(nn.Module):
    """Does not commute with the time mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x * F.softmax(x, -1)


class AttendRule(Rule):
    """The exact rate, with the gradient that the layer has at the rate of its input."""

    def spikes(self, layer: Attend, x_seq: torch.Tensor, trace: Trace) -> torch.Tensor:
        y_seq = type(layer).forward(layer, x_seq)
        trace.value.add(y_seq)
        return y_seq

    def rate(self, layer: Attend, rate: torch.Tensor, trace: Trace) -> torch.Tensor:
        return Exact.apply(type(layer).forward(layer, rate), trace.value.take())


class RegisteredAttend(Attend):
    pass


def net(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), lif(v_threshold=0.2), layer, nn.Linear(8, 5))


def x(T: int) -> torch.Tensor:
    return torch.randn(T, 4, 8, generator=torch.Generator().manual_seed(0)) * 2


def test_a_layer_that_commutes_with_the_time_mean_takes_one_line() -> None:
    with pytest.raises(NoRuleError, match=r"for 2 \(.*Smooth\)"):
        rbp.forward(net(Smooth()), x(3))

    class Registered(Smooth):
        pass

    register(CommutingRule(), Registered)
    assert apart(lambda: net(Registered()), x(1).expand(4, 4, 8), RATE, BPTT) < 1e-8
    assert apart(lambda: net(Registered()), x(4), RATE | {"step_mode": "s"}, RATE) < 1e-8


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_layer_that_does_not_commute_takes_a_rule_of_two_halves(step_mode: str) -> None:
    with pytest.raises(NoRuleError, match=r"for 2 \(.*Attend\)"):
        rbp.forward(net(Attend()), x(3), step_mode=step_mode)
    register(AttendRule(), RegisteredAttend)
    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(lambda: net(RegisteredAttend()), x(1), RATE | how, BPTT | how) < 1e-8
    network = net(RegisteredAttend())
    torch.testing.assert_close(step(network, x(4), **how)[0], step(network, x(4), **BPTT, **how)[0])


def test_a_rule_holds_for_subclasses_that_compute_the_same_only() -> None:
    class Named(nn.Conv2d):
        pass

    class Standardised(nn.Conv2d):
        def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return super()._conv_forward(x, weight - weight.mean(), bias)

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    rule = find_rule(nn.Conv2d(1, 1, 1))
    assert rule is not None and find_rule(Named(1, 1, 1)) is rule
    assert find_rule(Standardised(1, 1, 1)) is None and find_rule(Doubled(1, 1)) is None
    patched: Any = nn.Linear(1, 1)
    patched.forward = lambda x: x
    assert find_rule(patched) is None


class Standardised(nn.Linear):
    """Its own forward, with a weight computed from the parameter: needs no rule, being made of what has
    one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight - self.weight.mean(), self.bias) * 2


def test_a_subclass_with_a_forward_of_its_own_goes_by_its_operations() -> None:
    network = lambda: nn.Sequential(nn.Linear(8, 8), lif(v_threshold=0.2), Standardised(8, 5))  # noqa: E731
    assert apart(network, x(1).expand(4, 4, 8), RATE, BPTT) < 1e-8
