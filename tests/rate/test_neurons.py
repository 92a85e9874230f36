"""Neurons: the eligibility, learnable parameters, and which neurons are taken and which refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

import rbp
from rbp.rate.errors import NoRuleError
from rbp.rate.neurons import supported
from tests.support.networks import BPTT, RATE, apart, distance, lif, step

RESETS = [
    {"v_reset": v_reset, "detach_reset": detached}
    for v_reset in (None, 0.0, -0.3)
    for detached in (True, False)
]
SURROGATES = [surrogate.Sigmoid(4.0), surrogate.ATan(2.0), surrogate.PiecewiseQuadratic(), surrogate.Rect()]


def fast_neurons() -> Iterator[nn.Module]:
    for reset in RESETS:
        yield neuron.IFNode(**reset)
        for decays in (True, False):
            yield neuron.LIFNode(tau=1.7, decay_input=decays, **reset)
            yield neuron.ParametricLIFNode(init_tau=1.6, decay_input=decays, **reset)
    for function in SURROGATES:
        yield neuron.LIFNode(tau=1.4, v_threshold=0.7, surrogate_function=function)
        yield neuron.IFNode(v_threshold=0.7, v_reset=None, surrogate_function=function)


def elementwise_neurons() -> Iterator[nn.Module]:
    for reset in RESETS:
        yield neuron.SimpleIFNode(**reset)
        yield neuron.KLIFNode(tau=1.5, decay_input=False, **reset)
        yield neuron.KLIFNode(tau=1.5, scale_reset=True, **reset)
        yield neuron.QIFNode(v_threshold=0.9, v_c=0.4, **reset)
        yield neuron.RAFNode(**reset)
    for v_reset in (0.0, -0.3):
        yield neuron.SimpleLIFNode(tau=1.5, decay_input=False, v_reset=v_reset)
        yield neuron.EIFNode(v_threshold=0.9, theta_rh=0.5, v_reset=v_reset)
        yield neuron.IzhikevichNode(v_threshold=0.9, v_c=0.4, a=0.3, b=0.2, v_reset=v_reset, v_rest=v_reset)
    yield neuron.HalfThresholdIFNode()
    yield neuron.ComplementaryLIFNode(tau=1.5)
    yield neuron.CUBALIFNode()


NEURONS: list[Any] = [*fast_neurons(), *elementwise_neurons()]
for _node in NEURONS:  # a wide surrogate, so that the eligibility is not zero nearly everywhere
    if type(_node.surrogate_function) is surrogate.Rect:
        _node.surrogate_function = surrogate.Rect(alpha=0.8)


def named(node: nn.Module) -> str:
    return f"{type(node).__name__} {node.extra_repr()}"


def one_hidden_layer(node: nn.Module) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        first, last = nn.Linear(12, 16), nn.Linear(16, 5)
        with torch.no_grad():
            first.weight.mul_(3.0)
        return nn.Sequential(first, node, last)

    return make


def test_every_supported_neuron_is_among_those_tested() -> None:
    tested = {type(node).__name__ for node in NEURONS}
    assert tested == {*supported.FAST, *supported.ELEMENTWISE}


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("node", NEURONS, ids=named)
def test_one_hidden_layer_on_a_constant_input_has_the_gradients_of_bptt(
    node: nn.Module, step_mode: str
) -> None:
    """At any T, for any neuron, its learnable parameters among them: this is what the eligibility is."""
    x = torch.randn(6, 12, generator=torch.Generator().manual_seed(2))
    for T in (1, 5):
        how: dict[str, Any] = {"step_mode": step_mode}
        assert apart(one_hidden_layer(node), x.expand(T, 6, 12), RATE | how, BPTT | how) < 1e-8


@pytest.mark.parametrize("node", NEURONS[::3], ids=named)
def test_two_spiking_layers_on_frames_mode_s_is_mode_m_and_at_one_step_bptt(node: nn.Module) -> None:
    def make() -> nn.Module:
        layers = [nn.Linear(12, 16), lif(), nn.Linear(16, 16), node, nn.Linear(16, 5)]
        return nn.Sequential(*layers)

    x = torch.randn(4, 6, 12, generator=torch.Generator().manual_seed(2))
    assert apart(make, x, RATE | {"step_mode": "s"}, RATE) < 1e-8
    assert apart(make, x[:1], RATE, BPTT) < 1e-8


def test_the_eligibility_of_the_paper_by_its_own_recursion() -> None:
    """e = mean_t h_t f_t, f_t = 1 + lambda*f_{t-1} (soft reset, detached), step by step with a list."""
    c, decay, T = torch.tensor([0.3, 0.7, 1.3, -0.2], dtype=torch.float64), 0.2, 6
    f: Any = 0.0
    e: Any = 0.0
    u, s = torch.zeros(4), torch.zeros(4)
    for _ in range(T):
        u = decay * (u - s) + c
        s, sg = (u >= 1).double(), torch.sigmoid(4 * (u - 1))
        f = 1 + decay * f
        e = e + 4 * sg * (1 - sg) * f / T
    current = c[None].clone().requires_grad_()
    rbp.forward(nn.Sequential(lif()), current.expand(T, 1, 4)).sum().backward()
    assert current.grad is not None
    torch.testing.assert_close(current.grad[0], e)


def test_gated_lif_takes_all_steps_at_once_and_learns_its_gates() -> None:
    torch.manual_seed(0)
    node = neuron.GatedLIFNode(T=5, inplane=3)

    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 3, 3), node, nn.Flatten(), nn.Linear(108, 5))

    x = torch.randn(4, 2, 8, 8).expand(5, 4, 2, 8, 8)
    assert apart(make, x, RATE, BPTT) < 1e-8
    with pytest.raises(NoRuleError, match=r"1 \(.*GatedLIFNode\).*step_mode='m'"):
        rbp.forward(make().double(), x.double(), step_mode="s")
    with pytest.raises(NoRuleError, match="made for T=5, not for T=3"):
        rbp.forward(make().double(), x[:3].double())


def test_the_learnable_leak_is_bptts_where_only_linear_layers_follow_and_approximate_beyond() -> None:
    def make() -> nn.Module:
        plif = [
            neuron.ParametricLIFNode(init_tau=1.5, decay_input=False, detach_reset=True) for _ in range(2)
        ]
        return nn.Sequential(nn.Linear(12, 32), plif[0], nn.Linear(32, 32), plif[1], nn.Linear(32, 5))

    torch.manual_seed(0)
    net, x = make(), 2 * torch.randn(16, 12)
    (_, by_rate), (_, by_bptt) = (step(net, x, T=4, **how) for how in (RATE, BPTT))
    off = {k: distance({k: by_rate[k]}, {k: by_bptt[k]}) for k in ("1.w", "3.w")}
    # the last neuron's input varies in time: its own spikes and their derivative are still its own
    assert off["3.w"] < 1e-5
    assert 1e-4 < off["1.w"] < 0.5


@pytest.mark.parametrize("how", [RATE, BPTT])
def test_a_frozen_leak_gets_no_gradient(how: dict[str, Any]) -> None:
    net = nn.Sequential(nn.Linear(12, 8), neuron.ParametricLIFNode().requires_grad_(False), nn.Linear(8, 5))
    _, gradients = step(net, torch.randn(3, 12), T=2, **how)
    assert set(gradients) == {"0.weight", "0.bias", "2.weight", "2.bias"}


class RegisteredLIF(neuron.LIFNode):
    """A subclass of SpikingJelly's that computes the same: keeps the rule of its parent."""

    def __init__(self) -> None:
        super().__init__(tau=1.5, detach_reset=True)


class Halved(neuron.SimpleBaseNode):
    """A user's neuron, with a charge of its own and a learnable scalar."""

    v: Any

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.8))

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v * 0.5 + x.tanh() * self.gain * 2


class Registered(Halved):
    pass


rbp.rate.register(rbp.rate.ElementwiseNeuron(), Registered)


def test_a_users_neuron_is_refused_until_it_is_registered() -> None:
    x = torch.randn(5, 6, 12, generator=torch.Generator().manual_seed(2))
    with pytest.raises(
        NoRuleError, match=r"for 1 \(tests.*Halved\).*emits 0 or 1.*ElementwiseNeuron\(\), Halved\)"
    ):
        rbp.forward(one_hidden_layer(Halved())(), x)
    for node in (Registered(), RegisteredLIF()):
        assert apart(one_hidden_layer(node), x[:1].expand(5, 6, 12), RATE, BPTT) < 1e-8


def refused_neurons() -> Iterator[tuple[nn.Module, str]]:
    yield neuron.PSN(T=2), "parallel"
    yield neuron.SlidingPSN(k=2), "parallel"
    yield neuron.MaskedPSN(k=2, T=2), "parallel"
    yield neuron.OTTTLIFNode(), "online"
    yield neuron.SLTTLIFNode(), "online"
    yield neuron.TernaryIFNode(), "ternary"
    yield neuron.TernaryLIFNode(), "ternary"
    yield neuron.ILIFNode(), "levels"
    yield neuron.LIAFNode(torch.relu, False), "levels"
    yield neuron.DSRIFNode(T=2), "backward pass of its own"
    yield neuron.MPBNLIFNode(out_features=16), "normalises its membrane"
    yield neuron.NonSpikingLIFNode(), "membrane potentials, not spikes"


@pytest.mark.parametrize("node, why", list(refused_neurons()), ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_other_neurons_are_refused_by_name_before_anything_runs(
    node: nn.Module, why: str, step_mode: str
) -> None:
    net, ran = nn.Sequential(nn.Linear(12, 16), lif(), node, nn.Linear(16, 5)), []
    net[0].register_forward_hook(lambda *_: ran.append(1))
    with pytest.raises(NoRuleError, match=rf"2 \(spikingjelly.*{type(node).__name__}\): .*{why}"):
        rbp.forward(net, torch.randn(2, 3, 12), step_mode=step_mode)
    assert not ran


def test_every_neuron_of_spikingjelly_is_supported_or_refused() -> None:
    """So that a new release's neuron is not taken for its parent class."""
    listed = {*supported.FAST, *supported.ELEMENTWISE, *supported.SEQUENCE, *supported.REFUSED}
    bases = {"BaseNode", "SimpleBaseNode", "NonSpikingBaseNode", "AdaptBaseNode", "NoisyILCBaseNode"}
    found = {n for n, k in vars(neuron).items() if isinstance(k, type) and issubclass(k, nn.Module)}
    assert found - listed - bases == set()


def test_a_neuron_in_two_places_is_refused() -> None:
    """Its membrane potential would carry over from one place to the other."""
    node = lif()
    net = nn.Sequential(nn.Linear(12, 12), node, nn.Linear(12, 12), node)
    with pytest.raises(NoRuleError, match="called twice"):
        rbp.forward(net, torch.randn(2, 3, 12))
