"""Whatever a network's forward contains, the engine gives a plain loop's numbers or an error by name."""

from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import rbp
from rbp.rate import InputError, NoRuleError
from tests.support.changed import Change, Changed
from tests.support.networks import MODES, distance, lif, step


class Net(Changed):
    """With layers, and what else it may use, at hand."""

    def __init__(self, change: Change) -> None:
        super().__init__(change)
        self.alpha = nn.AlphaDropout(0.5)
        self.l3, self.flat, self.noise = lif(v_threshold=0.3), nn.Flatten(0), Noise()
        self.generator = self.noise.generator
        self.counts, self.flags, self.mode, self.seen = [0], {"on": False}, None, Seen()


class Noise(nn.Module):
    """Adds random numbers of its own generator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(x.shape[-1], generator=self.generator)


class Seen:
    """A callable object with a state."""

    def __init__(self) -> None:
        self.last: Any = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        self.last = 0.5 * self.last + x
        return self.last


class Kind(Enum):
    FIRST, LATER = 1, 2


def view_is_written_to(net: Any, s: Tensor) -> Tensor:
    part = s[:, :4]
    part.mul_(0.25)
    return s


def base_is_written_to(net: Any, s: Tensor) -> Tensor:
    s = s * 1.0
    part = s[:, :3]
    s *= 0.5
    return torch.cat([part, s[:, 3:]], 1)


def sibling_is_written_to(net: Any, s: Tensor) -> Tensor:
    s = s * 1.0
    one, other = s.view(-1, 2, 4), s.view(-1, 8)
    one *= 0.5
    return other


def under_no_grad(net: Any, s: Tensor) -> Tensor:
    s = net.b(s)
    with torch.no_grad():
        s.mul_(2.0)
    return s


def copied(net: Any, s: Tensor) -> Tensor:
    room = torch.empty(s.shape, dtype=s.dtype)
    room.copy_(s)
    return room


def filled(net: Any, s: Tensor) -> Tensor:
    room = torch.zeros(s.shape, dtype=s.dtype)
    room.fill_(s.sum())
    return room


def first_made_in_forward(net: Any, s: Tensor) -> Tensor:
    net.k = getattr(net, "k", 0) + 1
    return s * net.k


def counts_in_a_list(net: Any, s: Tensor) -> Tensor:
    net.counts[0] += 1
    return s * net.counts[0]


def flag_in_a_dict(net: Any, s: Tensor) -> Tensor:
    if net.flags["on"]:
        s = s * 2
    net.flags["on"] = True
    return s


def none_first(net: Any, s: Tensor) -> Tensor:
    s = s if net.mode is None else s * 2
    net.mode = Kind.LATER
    return s


def changed_reset(net: Any, s: Tensor) -> Tensor:
    net.l2.reset()
    return s


def adapts_a_threshold(net: Any, s: Tensor) -> Tensor:
    net.l2.v_threshold += 0.2
    return s


CHANGES: dict[str, Change] = {
    **{f.__name__: f for f in (view_is_written_to, base_is_written_to, sibling_is_written_to, under_no_grad)},
    **{f.__name__: f for f in (copied, filled, first_made_in_forward, counts_in_a_list, flag_in_a_dict)},
    **{f.__name__: f for f in (none_first, changed_reset, adapts_a_threshold)},
    "zero_": lambda net, s: s + (s * 1.0).zero_(),
    "uniform_": lambda net, s: s + (s * 1.0).uniform_(),
    "real": lambda net, s: s + s.real,
    "H": lambda net, s: s + s.mT.mH,
    "bernoulli": lambda net, s: torch.bernoulli(s * 0.5),
    "alpha dropout": lambda net, s: net.alpha(s),
    "normal": lambda net, s: torch.normal(s, 0.1),
    "numpy": lambda net, s: s * np.random.rand(),
    "numpy's array": lambda net, s: s * float(s.detach().numpy().sum() > 0),
    "a place for each spike": lambda net, s: s * len(torch.where(s > 0.5)[0]),
    "flat over the batch": lambda net, s: net.flat(s).view(s.shape),
    "a generator": lambda net, s: s * torch.rand(8, generator=net.generator),
    "a layer with a generator": lambda net, s: net.noise(s),
    "by name": lambda net, s: net.l3(x=s),
    "a callable object": lambda net, s: net.seen(s),
    "its membrane potential": lambda net, s: s + net.l1.v,
    "that of another": lambda net, s: s * (1.0 + net.l2.v),
}


def plain_loop(net: Any, x_seq: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    functional.reset_net(net)
    outputs = []
    for x in x_seq:
        torch.manual_seed(0)
        np.random.seed(0)
        net.generator.manual_seed(0)
        outputs.append(net(x))
    y = torch.stack(outputs).mean(0)
    nn.functional.cross_entropy(y, torch.arange(len(y)) % 3).backward()
    return y.detach(), {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors")
@pytest.mark.parametrize("T", [1, 4])
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_is_a_plain_loop_or_an_error_by_name(change: Change, mode: tuple[str, str], T: int) -> None:
    grad_mode, step_mode = mode
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)).double() * 3
    x_seq = x.expand(T, *x.shape)
    y, wanted = plain_loop(Net.made(change), x_seq)
    torch.manual_seed(0)
    np.random.seed(0)
    net = Net.made(change)
    torch.manual_seed(0)
    try:
        z, found = step(net, x_seq, grad_mode=grad_mode, step_mode=step_mode)
    except (InputError, NoRuleError):
        assert (grad_mode, step_mode) != ("bptt", "s")  # a plain loop itself
        return
    torch.testing.assert_close(z, y)
    if grad_mode == "bptt" or T == 1:
        assert distance({name: found[name] for name in wanted}, wanted) < 1e-9


def test_a_rule_is_given_one_input_alone() -> None:
    class Scale(nn.Module):
        def forward(self, x: Tensor, k: float = 1.0) -> Tensor:
            return x * k

    rbp.rate.register(rbp.rate.CommutingRule(), Scale)
    net: Any = Net.made(lambda net, s: net.scale(s, k=3.0))
    net.scale = Scale()
    with pytest.raises(NoRuleError, match="more arguments"):
        rbp.forward(net, torch.rand(2, 5, 6).double())


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_reset_value_that_is_set_and_a_hook_on_a_surrogate_count(mode: tuple[str, str]) -> None:
    grad_mode, step_mode = mode

    def prepared() -> nn.Module:
        net: Any = Net.made(lambda net, s: s)
        net.l1.set_reset_value("v", 0.2)
        net.l2.surrogate_function.register_forward_hook(lambda module, args, out: out * 0.5)
        return net

    x = torch.rand(1, 5, 6, generator=torch.Generator().manual_seed(1)).double() * 3
    y, wanted = plain_loop(prepared(), x)
    z, found = step(prepared(), x, grad_mode=grad_mode, step_mode=step_mode)
    torch.testing.assert_close(z, y)
    assert distance({name: found[name] for name in wanted}, wanted) < 1e-9


def test_a_setting_in_a_dict_or_of_a_layer_inside_counts_at_the_next_call() -> None:
    """The network only reads what it has kept where it is told to."""

    def change(net: Any, s: Tensor) -> Tensor:
        kept, net.mode = net.mode, s
        return s if kept is None or not (net.flags["on"] or not net.alpha.training) else s + kept

    net = Net.made(change)
    x = torch.rand(4, 5, 6).double() * 3
    for setting in ("off", "on", "off", "eval"):
        net.flags["on"], net.mode = setting == "on", None
        net.alpha.train(setting != "eval")
        if setting == "off":
            rbp.forward(net, x)
            continue
        with pytest.raises(InputError, match="keeps 'mode'"):
            rbp.forward(net, x)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_neuron_of_ones_own_may_count_its_steps(mode: tuple[str, str]) -> None:
    class Counting(neuron.LIFNode):
        steps = 0

        def single_step_forward(self, x: Tensor) -> Tensor:
            self.steps += 1
            return super().single_step_forward(x)

    rbp.rate.register(rbp.rate.ElementwiseNeuron(), Counting)
    net = nn.Sequential(nn.Linear(6, 8), Counting(), nn.Linear(8, 3))
    grad_mode, step_mode = mode
    rbp.forward(net, torch.rand(4, 5, 6), grad_mode=grad_mode, step_mode=step_mode)


def test_a_copy_into_integers_is_refused() -> None:
    net = Net.made(lambda net, s: torch.empty(s.shape, dtype=torch.int32).copy_(net.b(s)).double())
    with pytest.raises(NoRuleError, match="does not commute"):
        rbp.forward(net, torch.rand(2, 5, 6).double())
