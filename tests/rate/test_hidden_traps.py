"""What a network may do that a pair does not see as a tensor would: the plain numbers, or an error."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import rbp
from rbp.rate.errors import InputError, NoRuleError
from tests.support.networks import BPTT, RATE, distance, lif, step

Change = Callable[[nn.Module, Tensor], Tensor]


class Hidden(nn.Module):
    """Written for one step: conv, neuron, something, linear."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.conv, self.lif, self.change = nn.Conv2d(2, 4, 3), lif(v_threshold=0.5), change
        self.again = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.fire, self.last = lif(v_threshold=0.5), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.change(self, self.lif(self.conv(x))).flatten(1))


class Shown(nn.Module):
    """The same, written with SpikingJelly's wrappers for [T, B, ...]."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.conv, self.lif, self.change = layer.Conv2d(2, 4, 3), lif(v_threshold=0.5), change
        self.last = layer.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.change(self, self.lif(self.conv(x))).flatten(-3))


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


class TwiceInTwoParts(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


def frames(steps: int = 3) -> Tensor:
    return torch.randn(steps, 4, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def plain(net: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """One step after another, each an ordinary call on tensors."""
    return step(net, x, **BPTT, step_mode="s")


@pytest.mark.parametrize("function", [Twice, TwiceInTwoParts])
@pytest.mark.parametrize(
    ("kind", "grad_mode", "step_mode"),
    [
        (Hidden, "rate", "m"),
        (Hidden, "rate", "s"),
        (Hidden, "bptt", "m"),
        (Shown, "rate", "m"),
        (Shown, "rate", "s"),
    ],
)
def test_a_function_with_its_own_backward_is_refused_by_name(
    kind: Callable[[Change], nn.Module],
    grad_mode: str,
    step_mode: str,
    function: type[torch.autograd.Function],
) -> None:
    net = kind(lambda net, x: function.apply(x))
    with pytest.raises(
        NoRuleError, match=f"{function.__name__}, a torch.autograd.Function.*layer of its own"
    ):
        rbp.forward(net, frames(), grad_mode=grad_mode, step_mode=step_mode)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_changes_nothing(step_mode: str, reentrant: bool) -> None:
    def checkpointed(net: Any, x: Tensor) -> Tensor:
        return net.fire(checkpoint(lambda x: net.again(x) * 2, x, use_reentrant=reentrant))

    torch.manual_seed(0)
    net, same = (
        Hidden(change).double() for change in (checkpointed, lambda net, x: net.fire(net.again(x) * 2))
    )
    same.load_state_dict(net.state_dict())
    for how in (RATE, BPTT):
        (y, gradients), (z, wanted) = (
            step(n, frames(3).double(), **how, step_mode=step_mode) for n in (net, same)
        )
        torch.testing.assert_close(y, z)
        assert distance(gradients, wanted) < 1e-12


def test_what_is_cut_off_by_no_grad_stays_cut_off() -> None:
    def change(net: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            half = x * 0.5
        return half

    _, gradients = step(Hidden(change), frames(1))
    assert gradients["conv.weight"].norm() == 0 < gradients["last.weight"].norm()


def zero_two_channels(net: Any, x: Tensor) -> Tensor:
    x[:, :2].mul_(0)
    return x


def quarter_through_a_reshape(net: Any, x: Tensor) -> Tensor:
    x.flatten(1).mul_(0.25)
    return x


def quarter_and_go_on_with_the_view(net: Any, x: Tensor) -> Tensor:
    v = x.flatten(1)
    v.mul_(0.25)
    return v


@pytest.mark.parametrize("how", [RATE, RATE | {"step_mode": "s"}, BPTT], ids=str)
@pytest.mark.parametrize("change", [zero_two_channels, quarter_through_a_reshape])
def test_a_change_through_a_view_is_refused_where_it_would_be_lost(change: Change, how: dict) -> None:
    with pytest.raises(NoRuleError, match="changed in place through a view"):
        rbp.forward(Hidden(change), frames(), **how)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_view_that_is_changed_and_used_itself_has_the_plain_numbers(step_mode: str) -> None:
    torch.manual_seed(0)
    net = Hidden(quarter_and_go_on_with_the_view).double()
    (y, gradients), (z, by_bptt) = (
        step(net, frames(1).double(), **RATE, step_mode=step_mode),
        plain(net, frames(1).double()),
    )
    torch.testing.assert_close(y, z)
    assert distance(gradients, by_bptt) < 1e-9


def adds_in_place(net: Any, x: Tensor) -> Tensor:
    out = net.again(x)
    out += x
    return net.fire(out)


def halves_what_another_was_made_of(net: Any, x: Tensor) -> Tensor:
    y = x * 2
    x.mul_(0.5)
    return net.fire(net.again(y) + x)


@pytest.mark.parametrize("change", [adds_in_place, halves_what_another_was_made_of])
def test_in_place_in_chunks_is_in_place(change: Change) -> None:
    torch.manual_seed(0)
    net = Hidden(change).double()
    (y, whole), (z, chunked) = (step(net, frames(5).double(), chunk=chunk) for chunk in (None, 2))
    torch.testing.assert_close(z, y)
    assert distance(chunked, whole) < 1e-9


CONVERTS = {
    "type": lambda net, x: x.type(x.dtype) + net.fire(net.again(x)),
    "contiguous, channels last": lambda net, x: x.contiguous(memory_format=torch.channels_last),
    "to, channels last": lambda net, x: x.to(memory_format=torch.channels_last),
    "clone, channels last": lambda net, x: x.clone(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("name", CONVERTS)
def test_conversions_are_those_of_one_step(name: str, step_mode: str) -> None:
    torch.manual_seed(0)
    net = Hidden(CONVERTS[name]).double()
    x = frames(1).double()
    (y, gradients), (z, by_bptt) = step(net, x, **RATE, step_mode=step_mode), plain(net, x)
    torch.testing.assert_close(y, z)
    assert distance(gradients, by_bptt) < 1e-9
    net.eval()  # without the batch's statistics over T
    for how in (RATE, BPTT):
        y = rbp.forward(net, frames().double(), **how, step_mode=step_mode)
        torch.testing.assert_close(y, rbp.forward(net, frames().double(), **BPTT, step_mode="s"))


def siamese(net: Any, x: Tensor) -> Tensor:
    folded = x.flatten(0, 1)
    a, b = torch.cat([folded, folded * 0.5], 0).chunk(2, 0)
    return (a - b).unflatten(0, x.shape[:2])


MIXES: dict[str, Change] = {
    "cumsum": lambda net, x: x.cumsum(0),
    "flip": lambda net, x: x.flip(0),
    "roll": lambda net, x: x.roll(1, 0),
    "chunk": lambda net, x: x.chunk(2, 0)[0],
    "index_select": lambda net, x: x.index_select(0, torch.tensor([1, 0, 2, 3])),
}


@pytest.mark.parametrize("name", MIXES)
def test_what_mixes_the_time_steps_is_refused_also_where_the_sizes_agree(name: str) -> None:
    with pytest.raises(NoRuleError, match=f"{name}.* the time axis"):
        rbp.forward(Shown(MIXES[name]), torch.randn(4, 4, 2, 6, 6))


APART: dict[str, Change] = {
    "two folded batches and back": siamese,
    "steps taken and stacked": lambda net, x: torch.stack(x.unbind(0)),
    "time elsewhere and back": lambda net, x: (x.transpose(0, 1) * 2).transpose(0, 1),
    "cumsum over channels": lambda net, x: x.cumsum(2) * 0.5,
    "flip of places": lambda net, x: x.flip(3, 4),
    "halves of the channels": lambda net, x: torch.cat(x.chunk(2, 2)[::-1], 2),
    "order of the batch": lambda net, x: x.index_select(1, torch.tensor([1, 0, 3, 2])),
    "pad": lambda net, x: F.pad(x, (1, 0), value=0.3)[..., :-1],
    "folded and back": lambda net, x: (
        x.flatten(0, 1).transpose(1, 2).transpose(2, 1).unflatten(0, x.shape[:2])
    ),
}


@pytest.mark.parametrize("name", APART)
def test_what_leaves_the_time_steps_apart_is_as_in_bptt(name: str) -> None:
    torch.manual_seed(0)
    net = Shown(APART[name]).double()
    frame = torch.randn(1, 4, 2, 6, 6, dtype=torch.float64)
    still = frame.expand(4, *frame.shape[1:])  # T = B: one hidden layer and a constant input, so they agree
    (y, gradients), (z, by_bptt) = step(net, still, **RATE), step(net, still, **BPTT)
    torch.testing.assert_close(y, z)
    assert distance(gradients, by_bptt) < 1e-9


def test_batch_normalisation_told_to_stop_tracking_stops() -> None:
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), norm, lif(), nn.Flatten(), nn.Linear(64, 5))
    norm.track_running_stats = False
    before = {key: value.clone() for key, value in net.state_dict().items()}
    for step_mode in ("m", "s"):
        rbp.forward(net, frames(), step_mode=step_mode)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_a_functions_running_variance_is_that_of_all_steps_also_of_a_static_image(grad_mode: str) -> None:
    class Normalises(nn.Module):
        mean: Tensor
        var: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(2))
            self.register_buffer("var", torch.ones(2))
            self.fc, self.lif = nn.Linear(8, 5), lif()

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.lif(F.batch_norm(x, self.mean, self.var, training=True)).flatten(1))

    net, x = Normalises(), torch.randn(3, 2, 2, 2)
    rbp.forward(net, x.expand(4, *x.shape), grad_mode=grad_mode)
    n = 4 * 3 * 2 * 2
    expected = 0.9 + 0.1 * x.transpose(0, 1).flatten(1).var(1, unbiased=False) * n / (n - 1)
    torch.testing.assert_close(net.var, expected)


def test_counts_do_not_overflow_in_float16() -> None:
    net: Any = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), lif(v_threshold=-5.0), nn.Conv2d(16, 8, 3, padding=1)),
        *(nn.Flatten(), nn.Linear(8 * 256, 5)),
    )
    x = torch.randn(64, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.float16):
        y = rbp.forward(net, x)
    (F.cross_entropy(y.float(), torch.arange(4)) * 2**14).backward()
    assert net[2].weight.grad is not None and net[2].weight.grad.isfinite().all()


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_a_mean_over_time_is_one_where_time_steps_images_and_classes_are_as_many(grad_mode: str) -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif, self.last = layer.Linear(8, 10), neuron.IFNode(), layer.Linear(10, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.lif(self.fc(x))).mean(0)

    assert rbp.forward(Mean(), torch.rand(10, 10, 8), grad_mode=grad_mode).shape == (10, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"T": 2.0}, "T=2.0: a whole number"),
        ({"T": "2"}, "T='2': a whole number"),
        ({"chunk": 1.5}, "chunk=1.5: a whole number"),
        ({"chunk": 0}, "chunk=0: at least one"),
    ],
)
def test_numbers_that_are_none_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rbp.forward(Hidden(lambda net, x: x), frames(), **arguments)


def test_an_array_and_a_batch_without_time_are_refused() -> None:
    net = nn.Sequential(nn.Linear(8, 8), lif(), nn.Linear(8, 5))
    with pytest.raises(InputError, match="x_seq is ndarray: a tensor"):
        rbp.forward(net, torch.rand(3, 8).numpy())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no time axis"):
        rbp.forward(net, torch.rand(3, 8))
