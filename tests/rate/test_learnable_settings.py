"""Neurons whose threshold, time constant or reset is learnt, or is a tensor: their gradient, or a refusal."""

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

import rbp
from rbp.rate import NoRuleError

LEARNT = [
    (neuron.LIFNode, "v_threshold", 1.1),
    (neuron.LIFNode, "tau", 1.7),
    (neuron.LIFNode, "v_reset", 0.1),
    (neuron.IFNode, "v_threshold", 0.9),
    (neuron.ParametricLIFNode, "v_threshold", 1.2),
    (neuron.KLIFNode, "v_threshold", 1.1),
]


def network(lif: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), lif, nn.Linear(8, 3)).double()


def gradients(net: nn.Module, T: int, step_mode: str, grad_mode: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Of a loss that is linear in the output; behind the neuron only linear layers follow."""
    x = torch.rand(T, 4, 6, generator=torch.Generator().manual_seed(1)).double() * 3
    net.zero_grad(set_to_none=True)
    y = rbp.forward(net, x, step_mode=step_mode, grad_mode=grad_mode)
    (y * torch.linspace(-1, 1, 12).view(4, 3)).sum().backward()
    return y.detach(), {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("T", [1, 3, 4])
@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize(("kind", "name", "value"), LEARNT, ids=lambda v: getattr(v, "__name__", str(v)))
def test_a_learnt_setting_gets_its_gradient(
    kind: type[nn.Module], name: str, value: float, step_mode: str, T: int
) -> None:
    lif = kind(surrogate_function=surrogate.ATan())
    setattr(lif, name, nn.Parameter(torch.tensor(value)))
    net = network(lif)
    (y, rate), (z, bptt) = (gradients(net, T, step_mode, mode) for mode in ("rate", "bptt"))
    torch.testing.assert_close(y, z)
    for learnt in ("1." + name, *(["1.w"] if kind is neuron.ParametricLIFNode else [])):
        assert bptt[learnt].abs() > 1e-3
        torch.testing.assert_close(rate[learnt], bptt[learnt], rtol=1e-6, atol=1e-9)
    if T == 1:
        torch.testing.assert_close(rate["0.weight"], bptt["0.weight"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("v_reset", [0.0, None])
@pytest.mark.parametrize("kind", [neuron.LIFNode, neuron.IFNode])
def test_a_threshold_per_channel_is_the_plain_network(
    kind: type[nn.Module], v_reset: float | None, step_mode: str
) -> None:
    lif = kind(v_reset=v_reset, surrogate_function=surrogate.ATan())
    lif.v_threshold = torch.linspace(0.5, 1.5, 8, dtype=torch.float64)
    net = network(lif)
    (y, _), (z, _) = (gradients(net, 4, step_mode, mode) for mode in ("rate", "bptt"))
    torch.testing.assert_close(y, z)
    (_, rate), (_, bptt) = (gradients(net, 1, step_mode, mode) for mode in ("rate", "bptt"))
    for name in bptt:
        torch.testing.assert_close(rate[name], bptt[name], rtol=1e-6, atol=1e-9)


class Triangle(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * (1 - ctx.saved_tensors[0].abs()).clamp(min=0)


class Module(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Triangle.apply(x)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("function", [Triangle.apply, Module(), lambda x: Triangle.apply(x)])
@pytest.mark.parametrize("kind", [neuron.LIFNode, neuron.IFNode, neuron.ParametricLIFNode])
def test_a_surrogate_may_be_any_function_or_module(
    kind: type[nn.Module], function: object, step_mode: str
) -> None:
    net = network(kind(surrogate_function=function))
    (y, _), (z, _) = (gradients(net, 4, step_mode, mode) for mode in ("rate", "bptt"))
    torch.testing.assert_close(y, z)
    (_, rate), (_, bptt) = (gradients(net, 1, step_mode, mode) for mode in ("rate", "bptt"))
    for name in bptt:
        torch.testing.assert_close(rate[name], bptt[name], rtol=1e-6, atol=1e-9)


def test_a_setting_whose_gradient_would_be_lost_is_refused_by_name() -> None:
    raw = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    lif = neuron.LIFNode(surrogate_function=surrogate.ATan())
    lif.v_threshold = raw.exp()
    with pytest.raises(NoRuleError, match=r"1.*v_threshold is a tensor with a gradient.*nn.Parameter"):
        gradients(network(lif), 2, "m", "rate")
    lif.v_threshold = raw.exp().detach()
    assert torch.isfinite(gradients(network(lif), 2, "m", "rate")[0]).all()


def test_a_learnt_width_of_the_surrogate_is_refused_by_name() -> None:
    lif = neuron.LIFNode(surrogate_function=surrogate.ATan())
    lif.surrogate_function.alpha = nn.Parameter(torch.tensor(2.0))
    with pytest.raises(NoRuleError, match="alpha"):
        gradients(network(lif), 2, "m", "rate")


@pytest.mark.parametrize("T", [1, 4])
@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize(("kind", "name", "value"), LEARNT, ids=lambda v: getattr(v, "__name__", str(v)))
def test_a_learnt_setting_per_channel_gets_its_gradient(
    kind: type[nn.Module], name: str, value: float, step_mode: str, T: int
) -> None:
    lif = kind(surrogate_function=surrogate.ATan())
    setattr(lif, name, nn.Parameter(value + torch.linspace(-0.05, 0.05, 8)))
    net = network(lif)
    (y, rate), (z, bptt) = (gradients(net, T, step_mode, mode) for mode in ("rate", "bptt"))
    torch.testing.assert_close(y, z)
    assert bptt["1." + name].abs().min() > 1e-6
    torch.testing.assert_close(rate["1." + name], bptt["1." + name], rtol=1e-9, atol=1e-12)


class Leaky(neuron.SimpleBaseNode):
    """A user's neuron with a leak per channel, element or image."""

    v: Any

    def __init__(self, leak: Tensor) -> None:
        super().__init__(surrogate_function=surrogate.ATan())
        self.leak = nn.Parameter(leak)

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v * self.leak.sigmoid() + x


rbp.rate.register(rbp.rate.ElementwiseNeuron(), Leaky)


def images(leak: Tensor) -> nn.Module:
    torch.manual_seed(0)
    body: list[nn.Module] = [
        nn.Unflatten(1, (1, 2, 3)),
        nn.Conv2d(1, 5, 1),
        Leaky(leak),
        nn.Flatten(),
        nn.Linear(30, 3),
    ]
    return nn.Sequential(*body).double()


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 1, 1), (1, 5, 1, 1), (5, 2, 3), (2, 1), (4, 1, 1, 1)])
@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_leak_of_any_shape_that_broadcasts_gets_its_gradient(
    shape: tuple[int, ...], step_mode: str
) -> None:
    net = images(torch.randn(shape, generator=torch.Generator().manual_seed(3)))
    (y, rate), (z, bptt) = (gradients(net, 4, step_mode, mode) for mode in ("rate", "bptt"))
    torch.testing.assert_close(y, z)
    assert rate["2.leak"].shape == shape and bptt["2.leak"].abs().max() > 1e-3
    torch.testing.assert_close(rate["2.leak"], bptt["2.leak"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (2, 3, 1), (1, 4, 5, 1, 1)])
def test_a_leak_of_another_shape_is_refused_with_the_shapes_that_would_do(shape: tuple[int, ...]) -> None:
    says = r"for 2 .*leak of shape .* against its input \(4, 5, 2, 3\).*\(5, 1, 1\), .*\(5, 2, 3\)"
    with pytest.raises(NoRuleError, match=says):
        gradients(images(torch.zeros(shape)), 2, "m", "rate")
