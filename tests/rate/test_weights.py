"""Weights that are computed when they are read: once a forward pass, whatever the gradient and step mode."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import rbp
from rbp.rate.network.modules import Network
from rbp.rate.network.weights import weights_read_once
from tests.support.networks import MODES, lif

NORMS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "spectral": parametrizations.spectral_norm,
    "spectral, older": nn.utils.spectral_norm,
    "weight": parametrizations.weight_norm,
    "weight, older": nn.utils.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.3),
    "pruned twice": lambda layer: prune.random_unstructured(NORMS["pruned"](layer), "weight", 0.3),
}

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")  # torch deprecates it


class Counting(nn.Module):
    """A parametrization that is another one at every reading."""

    def __init__(self) -> None:
        super().__init__()
        self.readings = 0

    def forward(self, weight: Tensor) -> Tensor:
        self.readings += 1
        return weight * (1 + self.readings)


def network(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Linear(6, 8), lif(), norm(nn.Linear(8, 8)), lif(v_threshold=0.3), norm(nn.Linear(8, 3))]
    return nn.Sequential(*body).double()


def x_seq(T: int) -> Tensor:
    return torch.rand(T, 4, 6, generator=torch.Generator().manual_seed(0)).double() * 4


def one_pass(name: str, T: int, **how: Any) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Output, gradients and buffers of a first pass."""
    net = network(NORMS[name])
    y = rbp.forward(net, x_seq(T), **how)
    y.pow(2).sum().backward()
    gradients = {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}
    return y.detach(), gradients, {k: b.clone() for k, b in net.named_buffers()}


@pytest.mark.parametrize("name", NORMS)
def test_at_one_step_each_way_is_torchs_plain_forward(name: str) -> None:
    plain = network(NORMS[name])
    y = plain(x_seq(1)[0])
    y.pow(2).sum().backward()
    for grad_mode, step_mode in MODES:
        z, gradients, buffers = one_pass(name, 1, grad_mode=grad_mode, step_mode=step_mode)
        torch.testing.assert_close(z, y.detach(), rtol=1e-9, atol=1e-12)
        assert gradients.keys() == {k for k, p in plain.named_parameters() if p.grad is not None}
        for k, gradient in gradients.items():
            torch.testing.assert_close(gradient, plain.get_parameter(k).grad, rtol=1e-9, atol=1e-12)
        for k, buffer in buffers.items():
            assert torch.equal(buffer, plain.get_buffer(k))


@pytest.mark.parametrize("name", NORMS)
def test_every_way_of_running_leaves_the_same_buffers_and_output(name: str) -> None:
    results = []
    for grad_mode, step_mode in MODES:
        results.append(one_pass(name, 4, grad_mode=grad_mode, step_mode=step_mode))
    results.append(one_pass(name, 4, chunk=3))
    for y, _, buffers in results:
        torch.testing.assert_close(y, results[0][0], rtol=1e-9, atol=1e-12)
        assert all(torch.equal(buffers[k], results[0][2][k]) for k in buffers)
    _, rate_m, rate_s = results[0], results[2], results[3]
    for k in rate_m[1]:
        torch.testing.assert_close(rate_s[1][k], rate_m[1][k], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("how", [{"grad_mode": g, "step_mode": s} for g, s in MODES], ids=str)
def test_one_reading_a_pass_and_the_next_one_anew(how: dict[str, Any]) -> None:
    def counting(layer: nn.Module) -> nn.Module:
        return parametrize.register_parametrization(layer, "weight", Counting())

    net = network(counting)
    counters = [m for m in net.modules() if isinstance(m, Counting)]
    for number in range(1, 4):
        before = [c.readings for c in counters]
        with torch.set_grad_enabled(number < 3):
            rbp.forward(net, x_seq(3), **how)
        assert [c.readings - b for c, b in zip(counters, before, strict=True)] == [1, 1]


@pytest.mark.parametrize("name", NORMS)
def test_hooks_and_the_cache_are_as_before_also_after_an_exception(name: str) -> None:
    net: Any = network(NORMS[name])
    net[2].register_forward_pre_hook(lambda module, inputs: None)
    before = [list(m._forward_pre_hooks.items()) for m in net.modules()]
    for fails in (False, True):
        try:
            with weights_read_once(Network(net)):
                handle = net[4].register_forward_pre_hook(lambda module, inputs: None)
                net[4].register_forward_pre_hook(lambda module, inputs: None).remove()
                if fails:
                    raise KeyError
        except KeyError:
            assert fails
        assert list(net[4]._forward_pre_hooks)[-1] == handle.id
        handle.remove()
        assert [list(m._forward_pre_hooks.items()) for m in net.modules()] == before
        assert not parametrize._cache_enabled and not parametrize._cache


def test_hooks_are_put_back_where_one_of_them_fails() -> None:
    net: Any = network(nn.utils.spectral_norm)
    before = [list(m._forward_pre_hooks.items()) for m in net.modules()]
    del net[4].weight_u
    with pytest.raises(AttributeError), weights_read_once(Network(net)):
        pass
    assert [list(m._forward_pre_hooks.items()) for m in net.modules()] == before
