"""What a network's own code does in a step is what a plain loop over its steps does, or it is refused by
name: state of its own, random draws, changes in place, branches, checkpoints, hooks of gradients."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, memopt, surrogate
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

import rbp
from rbp.rate import InputError, NoRuleError
from tests.support.changed import Change, Changed, inputs
from tests.support.networks import BPTT, MODES, RATE, distance, lif, step

rearrange = pytest.importorskip("einops").rearrange
DropPath = pytest.importorskip("timm.layers").DropPath


class Net(Changed):
    """With what drops whole samples at hand."""

    def __init__(self, change: Change) -> None:
        super().__init__(change)
        self.drop, self.path = StochasticDepth(0.5, "row"), DropPath(0.5)


def plain_loop(net: nn.Module, x_seq: Tensor, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """A loop over the steps with SpikingJelly alone, the random state put back before each."""
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    net.zero_grad()
    total: Any = 0.0
    for x in x_seq:
        torch.manual_seed(seed)
        total = total + net(x)
    y = total / len(x_seq)
    nn.functional.cross_entropy(y, torch.arange(len(y)) % 3).backward()
    functional.reset_net(net)
    grads = {k: torch.zeros_like(p) if p.grad is None else p.grad.clone() for k, p in net.named_parameters()}
    return y.detach(), grads


def as_a_loop(change: Change, T: int, step_mode: str, train: bool = True) -> None:
    """BPTT is the loop, rate mode has its output, and at T=1 its gradients."""
    net, x = Net.made(change).train(train), inputs(T)
    y, wanted = plain_loop(copy.deepcopy(net), x)
    z, gradients = step(copy.deepcopy(net), x, **BPTT, step_mode=step_mode)
    torch.testing.assert_close(z, y)
    assert distance(gradients, wanted) < 1e-9
    z, gradients = step(copy.deepcopy(net), x, **RATE, step_mode=step_mode)
    torch.testing.assert_close(z, y)
    assert T > 1 or distance(gradients, wanted) < 1e-9


def zeros_then_slices(net: Any, x: Tensor) -> Tensor:
    out = torch.zeros(x.shape[0], 8, dtype=x.dtype)
    out[:, :4] = net.b(x)[:, :4]
    out[:, 4:] = x[:, 4:]
    return out


def mask_of_zeros_like(net: Any, x: Tensor) -> Tensor:
    mask = torch.zeros_like(x)
    mask[:, :5] = 1
    return net.b(x * mask)


def adds_to_zeros(net: Any, x: Tensor) -> Tensor:
    total = x.new_zeros(x.shape)
    total += net.b(x)
    same = total
    total += x
    return same


def writes_a_number(net: Any, x: Tensor) -> Tensor:
    y = net.b(x)
    y[:, 0:2] = 0.5
    return y


def writes_by_mask(net: Any, x: Tensor) -> Tensor:
    y = net.b(x)
    y[torch.arange(len(y)) % 2 == 0] = 0.25
    return y


IDIOMS: dict[str, Change] = {
    "StochasticDepth": lambda net, x: x + net.drop(net.b(x)),
    "DropPath": lambda net, x: x + net.path(net.b(x)),
    "noise": lambda net, x: net.b(x) + torch.randn(8, dtype=x.dtype),
    "noise like": lambda net, x: net.b(x) + 0.3 * torch.rand_like(x),
    "two draws": lambda net, x: net.drop(net.b(x)) + nn.functional.dropout(x, 0.5),
    "einops": lambda net, x: rearrange(
        net.b(rearrange(x, "b (h c) -> (b h) c", c=8)), "(b h) c -> b (h c)", h=1
    ),
    "slices of zeros": zeros_then_slices,
    "a mask of zeros_like": mask_of_zeros_like,
    "+= into zeros": adds_to_zeros,
    "a number into a slice": writes_a_number,
    "a number by a mask": writes_by_mask,
    "checkpoint": lambda net, x: checkpoint(net.b, x, use_reentrant=False),
    "reentrant checkpoint": lambda net, x: checkpoint(net.b, x, use_reentrant=True),
    "less the batch's mean": lambda net, x: net.b(x) - x.mean(0),
}


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("T", [1, 3, 4])
@pytest.mark.parametrize("name", IDIOMS)
def test_what_a_step_does_is_what_a_plain_loop_does(name: str, T: int, step_mode: str) -> None:
    as_a_loop(IDIOMS[name], T, step_mode)


class OwnNeuron(nn.Module):
    """As in most papers' code: a state in an attribute, a surrogate of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = self.v * 0.5 + x
        s = surrogate.sigmoid.apply(self.v - 0.5, 4.0)
        self.v = self.v * (1 - s)
        return s


class LeakyReadout(nn.Module):
    """A state that the network itself keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.l, self.mem = nn.Linear(6, 8), lif(v_threshold=0.3), 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.mem = 0.5 * self.mem + self.l(self.a(x))
        return self.mem  # type: ignore[return-value]


class Averages(nn.Module):
    """A running mean in a buffer."""

    firing: Tensor

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.a, self.l, self.in_place = nn.Linear(6, 8), lif(v_threshold=0.3), in_place
        self.register_buffer("firing", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.l(self.a(x))
        if self.in_place:
            self.firing.mul_(0.9).add_(0.1 * x.detach().mean(0))
        else:
            self.firing = 0.9 * self.firing + 0.1 * x.detach().mean(0)
        return x


def test_a_neuron_of_ones_own_is_a_loop_in_bptt_and_named_in_rate_mode() -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(6, 8), lif(v_threshold=0.3), nn.Linear(8, 8), OwnNeuron()).double()
    net[2].weight.data.abs_()
    y, loop = torch.zeros(()), copy.deepcopy(net)
    for x in inputs():
        y = y + loop(x) / 4
    assert y.max() > 0
    for step_mode in ("m", "s"):
        z = rbp.forward(copy.deepcopy(net), inputs(), **BPTT, step_mode=step_mode)
        torch.testing.assert_close(z, y)
        with pytest.raises(NoRuleError, match=r"3 \(.*OwnNeuron\).*register\(rbp.rate.ElementwiseNeuron\(\)"):
            rbp.forward(net, inputs(), **RATE, step_mode=step_mode)
        assert net[3].v == 0.0


@pytest.mark.parametrize(("grad_mode", "step_mode"), [mode for mode in MODES if mode != ("bptt", "s")])
@pytest.mark.parametrize("make", [LeakyReadout, lambda: Averages(False), lambda: Averages(True)])
def test_state_of_ones_own_is_refused_but_step_by_step(make: Any, grad_mode: str, step_mode: str) -> None:
    net = make()
    before = net.state_dict()
    with pytest.raises((InputError, NoRuleError), match=r"keep|kept|buffer.*step_mode='s'.*'bptt'"):
        rbp.forward(net, inputs().float(), grad_mode=grad_mode, step_mode=step_mode)
    assert getattr(net, "mem", 0.0) == 0.0
    assert (
        all(type(value) is Tensor for value in net.state_dict().values())
        and net.state_dict().keys() == before.keys()
    )


def test_state_of_ones_own_is_as_in_a_loop_step_by_step() -> None:
    torch.manual_seed(0)
    net = LeakyReadout().double()
    loop, y = copy.deepcopy(net), torch.zeros(())
    for x in inputs():
        y = y + loop(x) / 4
    torch.testing.assert_close(rbp.forward(net, inputs(), **BPTT, step_mode="s"), y)


@pytest.mark.parametrize(("grad_mode", "step_mode"), MODES)
def test_what_a_network_only_leaves_behind_is_a_tensor(grad_mode: str, step_mode: str) -> None:
    def notes(net: Any, x: Tensor) -> Tensor:
        net.spikes = x
        return net.b(x)

    net = Net.made(notes)
    rbp.forward(net, inputs(), grad_mode=grad_mode, step_mode=step_mode).sum().backward()
    assert type(net.spikes) is Tensor and net.spikes.shape == (5, 8)


@pytest.mark.parametrize("answer", ["bool", "item", "float"])
def test_a_branch_on_values_that_differ_from_step_to_step_is_refused(answer: str) -> None:
    def branches(net: Any, x: Tensor) -> Tensor:
        whole = x.sum() - 20
        return (
            net.b(x)
            * {"bool": lambda: bool(whole > 0), "item": whole.item, "float": lambda: float(whole)}[answer]()
        )

    signs = torch.tensor([1.0, -1.0, 1.0, -1.0]).double().view(4, 1, 1)
    with pytest.raises(NoRuleError, match="use step_mode='s'"):
        rbp.forward(Net.made(branches), signs * inputs(), **BPTT, step_mode="m")
    with pytest.raises(NoRuleError, match="does not commute"):
        rbp.forward(Net.made(branches), signs * inputs(), **RATE, step_mode="m")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(("grad_mode", "step_mode"), MODES)
def test_spikingjellys_memopt_changes_nothing(
    grad_mode: str, step_mode: str, wrapped: bool, compress: bool
) -> None:
    kinds: Any = layer if wrapped else nn
    torch.manual_seed(0)
    body = [kinds.Conv2d(2, 4, 3, padding=1), kinds.BatchNorm2d(4), lif(v_threshold=0.2)]
    net = nn.Sequential(*body, kinds.Conv2d(4, 4, 3), lif(), kinds.Flatten(), kinds.Linear(144, 3)).double()
    x = torch.rand(3, 2, 2, 8, 8).double() * 3
    functional.set_step_mode(net, step_mode if wrapped else "s")
    once = x if wrapped and step_mode == "m" else x[0]
    light = memopt.optimize_memory(
        copy.deepcopy(net), (kinds.Conv2d,), lambda net: net(once), level=1, compress=compress
    )
    light.load_state_dict(net.state_dict())
    how: dict[str, Any] = {"grad_mode": grad_mode, "step_mode": step_mode, "layout": "step"}
    (y, wanted), (z, gradients) = step(net, x, **how), step(light, x, **how)
    torch.testing.assert_close(z, y)
    gradients = {k.replace("_checkpoint_wrapped_module.", ""): g for k, g in gradients.items()}
    assert distance(gradients, wanted) < 1e-12


def test_a_checkpoint_around_a_neuron_is_refused_step_by_step() -> None:
    net = Net.made(lambda net, x: checkpoint(net.l3, net.b(x), use_reentrant=False))
    net.l3 = lif()
    with pytest.raises(InputError, match=r"torch\.utils\.checkpoint around a neuron in step mode 's'"):
        rbp.forward(net, inputs(), **BPTT, step_mode="s")


@pytest.mark.parametrize(
    ("grad_mode", "step_mode", "calls", "shape"),
    [
        ("bptt", "m", 1, (4, 5, 3)),
        ("bptt", "s", 4, (5, 3)),
        ("rate", "m", 1, (5, 3)),
        ("rate", "s", 1, (5, 3)),
    ],
)
def test_full_backward_hooks_fire(grad_mode: str, step_mode: str, calls: int, shape: tuple[int, ...]) -> None:
    """With every step's gradient in BPTT, with the rate's in rate mode."""
    net = Net.made(lambda net, x: net.b(x))
    seen: list[Tensor] = []

    def see(module: nn.Module, given: Any, got: Any) -> None:
        seen.append(got[0])

    net.c.register_full_backward_hook(see)
    y = rbp.forward(net, inputs(), grad_mode=grad_mode, step_mode=step_mode)
    y.sum().backward()
    assert [tuple(g.shape) for g in seen] == [shape] * calls
    share = 1.0 if grad_mode == "rate" else 0.25
    torch.testing.assert_close(seen[0], torch.full(shape, share).double())


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_analog_layers_ahead_of_the_first_neuron_are_exact_on_a_static_image(step_mode: str) -> None:
    def make() -> nn.Module:
        stem = [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.InstanceNorm2d(4), nn.Softmax(1)]
        return nn.Sequential(*stem, nn.Conv2d(4, 4, 3), lif(v_threshold=0.2), nn.Flatten(), nn.Linear(64, 3))

    torch.manual_seed(0)
    net, x = make().double(), torch.rand(3, 2, 8, 8).double()
    (y, wanted), (z, gradients) = (
        step(net, x.expand(4, *x.shape), **how, step_mode=step_mode) for how in (BPTT, RATE)
    )
    torch.testing.assert_close(z, y)
    assert distance(gradients, wanted) < 1e-9  # one spiking layer and a linear one: nothing is approximated
    moving = torch.rand(4, 3, 2, 8, 8).double()
    with pytest.raises(NoRuleError, match=r"1 \(.*ReLU\): relu does not commute"):
        rbp.forward(net, moving, **RATE, step_mode=step_mode)


@pytest.mark.parametrize("kept", ["a list", "a dict", "an underscored name"])
@pytest.mark.parametrize("mode", ["m-bptt", "m-rate", "s-rate"])
def test_state_is_found_wherever_it_is_kept(kept: str, mode: str) -> None:
    """The network reads what it wrote in the step before."""

    def in_a_list(net: Any, x: Tensor) -> Tensor:
        net.states[0] = net.b(x) + 0.5 * net.states[0]
        return net.states[0]

    def in_a_dict(net: Any, x: Tensor) -> Tensor:
        net.states["v"] = net.b(x) + 0.5 * net.states.get("v", 0.0)
        return net.states["v"]

    def underscored(net: Any, x: Tensor) -> Tensor:
        net._mem = net.b(x) + 0.5 * getattr(net, "_mem", 0.0)
        return net._mem

    change = {"a list": in_a_list, "a dict": in_a_dict, "an underscored name": underscored}[kept]
    net: Any = Net.made(change)
    net.states = [0.0] if kept == "a list" else {}
    step_mode, grad_mode = mode.split("-")
    with pytest.raises((InputError, NoRuleError), match=r"keeps|kept"):
        rbp.forward(net, inputs(), step_mode=step_mode, grad_mode=grad_mode)
    assert net.states == ([0.0] if kept == "a list" else {}) and not hasattr(net, "_mem")


@dataclass
class Kept:
    """A state that a network keeps in an object of its own."""

    v: Any = 0.0
    t: int = 0


def in_an_object(net: Any, x: Tensor) -> Tensor:
    net.state.v = net.b(x) + 0.5 * net.state.v
    return net.state.v


def in_an_object_of_a_list(net: Any, x: Tensor) -> Tensor:
    net.states[0].v = net.b(x) + 0.5 * net.states[0].v
    return net.states[0].v


def by_a_buffer_in_place(net: Any, x: Tensor) -> Tensor:
    net.trace += net.b(x).detach().mean(0)
    return net.b(x) + net.trace


def by_a_layer_per_step(net: Any, x: Tensor) -> Tensor:
    net.t += 1
    return net.layers[net.t % 4](x)


def by_a_factor_per_step(net: Any, x: Tensor) -> Tensor:
    t = net.t
    net.t = t + 1
    return net.b(x) * 0.9**t


def by_a_tensor_per_step(net: Any, x: Tensor) -> Tensor:
    net.t += 1
    return net.b(x) * net.gains[net.t % 4]


def by_the_first_step(net: Any, x: Tensor) -> Tensor:
    net.state.t += 1
    return net.b(x) if net.state.t == 1 else x


COUNTING = (by_a_layer_per_step, by_a_factor_per_step, by_a_tensor_per_step, by_the_first_step)


def with_state(change: Change) -> Any:
    net: Any = Net.made(change)
    net.state, net.states, net.t = Kept(), [Kept()], 0
    net.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4)).double()
    net.gains = [torch.rand(8).double() for _ in range(4)]
    net.register_buffer("trace", torch.zeros(8).double())
    net.register_buffer("n", torch.zeros(()))
    return net


@pytest.mark.parametrize("mode", ["m-bptt", "m-rate", "s-rate"])
@pytest.mark.parametrize("change", [in_an_object, in_an_object_of_a_list, by_a_buffer_in_place, *COUNTING])
def test_a_step_that_depends_on_the_steps_before_is_refused(change: Change, mode: str) -> None:
    net, (step_mode, grad_mode) = with_state(change), mode.split("-")
    with pytest.raises((InputError, NoRuleError), match=r"keeps|kept"):
        rbp.forward(net, inputs(), step_mode=step_mode, grad_mode=grad_mode)
    assert (net.state, net.states, net.t) == (Kept(), [Kept()], 0)


@pytest.mark.parametrize("change", [in_an_object, by_a_buffer_in_place, *COUNTING])
def test_a_step_that_depends_on_the_steps_before_is_right_step_by_step(change: Change) -> None:
    y, gradients = plain_loop(with_state(change), inputs())
    found, own = step(with_state(change), inputs(), step_mode="s", **BPTT)
    torch.testing.assert_close(found, y)
    assert distance(own, gradients) < 1e-9


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
@pytest.mark.parametrize("step_mode, calls", [("m", 1), ("s", 4)])
def test_a_mere_count_of_the_calls_is_right(step_mode: str, calls: int, grad_mode: str) -> None:
    """One that the network does nothing with; rate mode's pass over the rates is no step."""

    def counted(net: Any, x: Tensor) -> Tensor:
        net.n += 1
        net.t, net.state.t = net.t + 1, net.state.t + 1
        return net.b(x)

    net = with_state(counted)
    for times in (1, 2):
        rbp.forward(net, inputs(), step_mode=step_mode, grad_mode=grad_mode)
        assert (float(net.n), net.t, net.state.t) == (times * calls,) * 3


CASTS: dict[str, Change] = {
    "to(bool)": lambda net, x: x.to(torch.bool).double(),
    "to(dtype=int)": lambda net, x: net.b(x).to(dtype=torch.int32).double(),
    "type": lambda net, x: x.type(torch.long).double(),
    "type_as": lambda net, x: x.type_as(torch.zeros(1, dtype=torch.int8)).double(),
    "where": lambda net, x: torch.where(x.detach() > 0, net.b(x), x),
    "method where": lambda net, x: net.b(x).where(x.detach() > 0, x),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("change", CASTS.values(), ids=CASTS)
def test_integers_and_choices_by_spikes_are_refused_in_rate_mode(change: Change, mode: tuple) -> None:
    grad_mode, step_mode = mode
    how: dict[str, Any] = {"grad_mode": grad_mode, "step_mode": step_mode}
    if grad_mode == "rate":
        with pytest.raises(NoRuleError, match="does not commute with the time mean"):
            rbp.forward(Net.made(change), inputs(), **how)
        return
    y, gradients = plain_loop(Net.made(change), inputs())
    found, own = step(Net.made(change), inputs(), **how)
    torch.testing.assert_close(found, y)
    assert distance(own, gradients) < 1e-9


def test_a_choice_by_a_plain_mask_and_a_cast_to_floats_are_linear() -> None:
    mask = torch.arange(8) % 2 == 0

    def change(net: Any, x: Tensor) -> Tensor:
        return torch.where(mask, net.b(x), x).to(torch.float64).type(torch.float64).where(mask, x * 2)

    (y, wanted), (z, gradients) = (step(Net.made(change), inputs(T=1), **how) for how in (BPTT, RATE))
    torch.testing.assert_close(z, y)
    assert distance(gradients, wanted) < 1e-9
