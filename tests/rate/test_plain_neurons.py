"""A user's neuron that is a plain nn.Module: its state is what its forward changes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer as sj
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

import rbp
from rbp.rate import NoRuleError
from rbp.rate.registry import is_neuron
from tests.support.networks import BPTT, MODES, RATE, apart, lif, step

fire = surrogate.Sigmoid(4.0)


class ByClass(nn.Module):
    """Its state begins as an attribute of its class. It computes what `lif` does, with tau = 2."""

    v: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = self.v * 0.5 + x
        s = surrogate.sigmoid.apply(self.v - 1.0, 4.0)
        self.v = self.v - s.detach()
        return s


class ByInstance(nn.Module):
    """None before the first step; a surrogate that is a layer inside it, a counter, notes that it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = None
        self.noted: list[Tensor] = []
        self.steps, self.fire = 0, surrogate.Sigmoid(4.0)

    def forward(self, x: Tensor) -> Tensor:
        self.v = torch.zeros_like(x) if self.v is None else self.v
        self.v = self.v * 0.5 + x
        s = self.fire(self.v - 1.0)
        self.v, self.steps = self.v - s.detach(), self.steps + 1
        self.noted.append(s.detach())
        return s


class ByBuffer(nn.Module):
    """A buffer, a constant beside it."""

    v: Tensor
    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("v", torch.zeros(1))
        self.register_buffer("threshold", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        u = self.v * 0.5 + x
        s = fire(u - self.threshold)
        self.v = u - self.threshold * s.detach()
        return s


class InPlace(nn.Module):
    """A buffer of the state's size, written into."""

    v: Tensor

    def __init__(self, *size: int) -> None:
        super().__init__()
        self.register_buffer("v", torch.zeros(*size))

    def forward(self, x: Tensor) -> Tensor:
        self.v *= 0.5
        self.v.add_(x)
        s = fire(self.v - 1.0)
        self.v = self.v - s.detach()
        return s


class TwoStates(nn.Module):
    """A synaptic current, a threshold that adapts, and a leak per channel that is learnt."""

    current: Any
    v: Any
    raised: Any

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.linspace(-1, 1, channels))
        self.current = self.v = self.raised = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.current = self.current * 0.7 + x
        self.v = self.v * self.leak.sigmoid() + self.current
        s = fire(self.v - 1.0 - self.raised)
        self.raised = 0.9 * self.raised + 0.2 * s
        self.v = self.v * (1 - s)
        return s


PLAIN = (ByClass, ByInstance, ByBuffer, InPlace, TwoStates)
KINDS: dict[str, Callable[[], nn.Module]] = {k.__name__: k for k in PLAIN} | {
    "InPlace": lambda: InPlace(6, 16)
}
rbp.rate.register(rbp.rate.ElementwiseNeuron(), *PLAIN)


def network(node: nn.Module, last: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    first = nn.Linear(12, 16)
    with torch.no_grad():
        first.weight.mul_(3.0)
    return nn.Sequential(first, node, *([nn.Linear(16, 16), last] if last else []), nn.Linear(16, 5))


def frames(T: int) -> Tensor:
    return torch.randn(T, 6, 12, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_hidden_layer_on_a_constant_input_has_the_gradients_of_bptt(kind: str, step_mode: str) -> None:
    """As any neuron's: where the input is constant and a linear layer follows, the rate method is exact."""
    how, x = {"step_mode": step_mode}, frames(1).expand(5, 6, 12)
    assert apart(lambda: network(KINDS[kind]()), x, RATE | how, BPTT | how) < 1e-9
    assert apart(lambda: network(KINDS[kind](), lif()), frames(1), RATE | how, BPTT | how) < 1e-9


@pytest.mark.parametrize("how", [{}, {"step_mode": "s"}, {"chunk": 2}], ids=str)
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "TwoStates"])
def test_it_trains_as_the_neuron_of_spikingjelly_that_computes_the_same(
    kind: str, how: dict[str, Any]
) -> None:
    def net(node: nn.Module) -> nn.Module:
        return network(node, lif()).double()

    known, x = lif(tau=2.0), frames(5).double()
    for mode in (RATE, BPTT | {k: v for k, v in how.items() if k != "chunk"}):
        how_now = mode if mode["grad_mode"] == "bptt" else mode | how
        (y, g), (z, h) = step(net(KINDS[kind]()), x, **how_now), step(net(known), x, **how_now)
        torch.testing.assert_close(y, z)
        for name in h:
            torch.testing.assert_close(g[name], h[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_running_gives_the_output_of_a_loop_over_the_steps(kind: str) -> None:
    net, x = network(KINDS[kind](), lif()), frames(4)
    by_hand = network(KINDS[kind](), lif())
    with torch.no_grad():
        outputs = torch.stack([by_hand(step) for step in x])
    for grad_mode, step_mode in MODES:
        y = rbp.forward(net, x, grad_mode=grad_mode, step_mode=step_mode, per_step=True)
        torch.testing.assert_close(y, outputs)
        with torch.no_grad():
            torch.testing.assert_close(rbp.forward(net, x, step_mode=step_mode, per_step=True), outputs)


def state(node: nn.Module) -> tuple:
    values = {k: v for k, v in node.__dict__.items() if k not in nn.Module().__dict__}
    buffers = {k: (id(b), b._version, b.tolist()) for k, b in node.named_buffers()}
    return repr(values), buffers, {k: id(p) for k, p in node.named_parameters()}


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_its_state_is_as_before_after_a_pass_and_after_an_exception(kind: str, mode: tuple[str, str]) -> None:
    node, (grad_mode, step_mode) = KINDS[kind](), mode
    how: dict[str, Any] = {"grad_mode": grad_mode, "step_mode": step_mode}
    before = state(node)
    rbp.forward(network(node), frames(3), **how).sum().backward()
    assert state(node) == before
    with torch.no_grad():
        rbp.forward(network(node), frames(3), **how)
    assert state(node) == before
    with pytest.raises(RuntimeError):
        rbp.forward(nn.Sequential(network(node), nn.Linear(4, 5)), frames(3), **how)
    assert state(node) == before


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_in_a_network_of_spikingjellys_wrappers_too(kind: Callable[[], nn.Module], step_mode: str) -> None:
    """There it is called with one step, or in step mode m with [T, B, ...]."""

    def make() -> nn.Module:
        return nn.Sequential(sj.Linear(12, 16), kind(), sj.Linear(16, 16), lif(), sj.Linear(16, 5))

    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(make, frames(1), RATE | how, BPTT | how) < 1e-9
    net, x = make().double(), frames(4).double()
    outputs = [rbp.forward(net, x, grad_mode=g, step_mode=s, per_step=True) for g, s in MODES]
    for y in outputs:
        torch.testing.assert_close(y, outputs[0])


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_in_bfloat16_its_state_is_in_float32(step_mode: str) -> None:
    net: Any = network(ByClass()).to(torch.bfloat16)
    x = frames(4).to(torch.bfloat16)
    y, z = (rbp.forward(net, x, step_mode=step_mode, **how) for how in (RATE, BPTT))
    y.float().sum().backward()
    torch.testing.assert_close(y, z, rtol=0.02, atol=0.02)
    assert net[0].weight.grad.dtype == torch.bfloat16 and net[0].weight.grad.isfinite().all()


def test_it_is_a_neuron_once_it_is_registered() -> None:
    class Unknown(ByClass):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    assert is_neuron(ByClass()) and not is_neuron(Unknown())
    with pytest.raises(rbp.rate.InputError, match="no spiking neurons"):
        rbp.forward(network(Unknown()), frames(2))


class Refused(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.states: list[Any] = [0.0]
        self.leak = torch.tensor(0.5, requires_grad=how == "gradient")
        if how == "inner":
            self.inner = neuron.LIFNode()

    def forward(self, x: Tensor) -> Any:
        v = self.states[0] * self.leak + x
        s = fire(v - 1.0)
        self.states = [v - s] if self.how == "list" else [0.0]
        return (s, v) if self.how == "pair" else s


rbp.rate.register(rbp.rate.ElementwiseNeuron(), Refused)


@pytest.mark.parametrize(
    "how, says",
    [
        ("list", "its states holds tensors in a list"),
        ("gradient", "its leak is a tensor with a gradient and no parameter"),
        ("inner", "it holds a neuron of SpikingJelly's"),
        ("pair", "must return its spikes alone"),
    ],
)
def test_what_would_be_silently_wrong_is_refused_by_name(how: str, says: str) -> None:
    with pytest.raises(NoRuleError, match=rf"for 1 \(tests.*Refused\): .*{says}"):
        rbp.forward(network(Refused(how)), frames(2))


class Inhibited(ByInstance):
    """Each neuron is inhibited by the mean of its neighbours."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(-1, keepdim=True))


class BySum(nn.Module):
    """A threshold that is the sum of its parameters, which broadcast against the input."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Parameter(torch.full((16,), 0.05))

    def forward(self, x: Tensor) -> Tensor:
        return fire(x - self.parts.sum())


class ByPlace(BySum):
    """A threshold that is the first of two numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return fire(x - self.parts.flip(0))


@pytest.mark.parametrize("kind", [Inhibited, BySum, ByPlace])
def test_what_does_not_treat_each_element_by_itself_is_refused(kind: Any) -> None:
    class Registered(kind):
        pass

    rbp.rate.register(rbp.rate.ElementwiseNeuron(), Registered)
    torch.manual_seed(0)
    node = Registered()
    if kind is ByPlace:
        node.parts.data = torch.linspace(0.1, 0.8, 16)
    with pytest.raises(NoRuleError, match="does not treat each element by itself"):
        rbp.forward(nn.Sequential(nn.Linear(12, 16), node, nn.Linear(16, 5)), frames(3))
