"""OTTT's weight gradients, by a reference of their own: what a layer sees in the steps, summed with the leak.

Gradients of outputs are those of SLTT, and all that stands between neurons and a layer is linear, so that the
trace of its input is the leaky sum of its inputs.
"""

import math
from collections.abc import Callable
from typing import Any

import einops
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import rbp
from rbp.rate import NoRuleError
from tests.support.networks import distance
from tests.support.online import Seen, each_step, gradients, leaky_sums, trained, weight_gradient
from tests.support.segments import NEURONS, PlainNeuron, Residual, lif

LABELS = torch.arange(3) % 3


def loss(y: Tensor) -> Tensor:
    return F.cross_entropy(y, LABELS)


class Head(nn.Module):
    """Convolution and neurons, what is under test, a layer with weights, neurons, and the output."""

    def __init__(self, between: nn.Module, weighted: nn.Module, make: Callable[[], nn.Module] = lif) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.spikes: Any = make()
        self.between, self.weighted, self.more, self.last = (
            between,
            weighted,
            make(),
            nn.LazyLinear(3, dtype=torch.float64),
        )

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.spikes(self.norm(self.first(x)))
        return self.last(self.more(self.weighted(self.between(spikes))).flatten(1))


def made(between: nn.Module, weighted: nn.Module, make: Callable[[], nn.Module] = lif) -> Head:
    torch.manual_seed(0)
    net = Head(between, weighted, make)
    inner: list[Any] = [*between.modules(), *weighted.modules()]
    for module in inner:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()  # from the seed
    for module in (net.first, net.norm, net.spikes, net.between, net.weighted, net.more):
        module.double()
    net.eval()(torch.zeros(2, 2, 6, 6).double())
    functional.reset_net(net)
    return net.train()


def frames(T: int) -> Tensor:
    return torch.randn(T, 3, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double() * 2


class Does(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def in_place(x: Tensor) -> Tensor:
    y = x * 2
    y += x
    y[:, :1] = x[:, 1:2]
    return y.mul_(0.5)


def onto_plain(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, 1:] = x[:, :-1]
    y += x
    return y


CONV = lambda: nn.Conv2d(4, 5, 3)  # noqa: E731
FLAT = lambda: nn.Linear(4 * 36, 5)  # noqa: E731
BETWEEN: dict[str, tuple[nn.Module, Callable[[], nn.Module]]] = {
    "nothing": (nn.Identity(), CONV),
    "average pooling": (nn.AvgPool2d(2), CONV),
    "adaptive average pooling": (nn.AdaptiveAvgPool2d((4, 3)), CONV),
    "flatten": (nn.Flatten(), FLAT),
    "views": (Does(lambda x: x.permute(0, 2, 3, 1).reshape(len(x), -1)), FLAT),
    "einops": (Does(lambda x: einops.rearrange(x, "b c h w -> b (h w c)")), FLAT),
    "linear on the last axis": (Does(lambda x: x.flatten(2).mT), lambda: nn.Linear(4, 5)),
    "padding, slices, cat": (
        Does(lambda x: torch.cat([F.pad(x, (1, 0))[..., :6], x.flip(2)], 1)[:, 2:6]),
        CONV,
    ),
    "chunks": (Does(lambda x: torch.stack(x.chunk(2, 1), 1).flatten(1, 2)), CONV),
    "sum with itself, scaled": (Does(lambda x: 0.5 * x + x.roll(1, 2) / 4 - x.mean((2, 3), True)), CONV),
    "upsampling": (nn.Upsample(scale_factor=2, mode="bilinear"), CONV),
    "scaled by a tensor": (Does(lambda x: x * torch.linspace(0, 1, 6).double()), CONV),
    "where": (Does(lambda x: torch.where(torch.ones(6, 6).tril() > 0, x, 0.0)), CONV),
    "in place": (Does(in_place), CONV),
    "in place onto a plain tensor": (Does(onto_plain), CONV),
    "spikingjelly's layers": (
        nn.Sequential(layer.AvgPool2d(2), layer.Flatten()),
        lambda: layer.Linear(36, 5),
    ),
    "a fixed matrix": (Does(lambda x: x @ torch.ones(6, 6).double().tril()), CONV),
    "conv with groups and stride": (nn.Identity(), lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2)),
    "conv without bias, dilated": (nn.Identity(), lambda: nn.Conv2d(4, 5, 2, dilation=2, bias=False)),
    "conv padded the same": (nn.Identity(), lambda: nn.Conv2d(4, 5, (2, 3), padding="same")),
    "conv not padded": (nn.Identity(), lambda: nn.Conv2d(4, 5, 3, padding="valid")),
    "conv padded around": (nn.Identity(), lambda: nn.Conv2d(4, 5, 3, padding=1, padding_mode="circular")),
    "spikingjelly's conv": (nn.Identity(), lambda: layer.Conv2d(4, 5, 3)),
    "transposed conv": (
        nn.Identity(),
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2),
    ),
    "conv1d": (nn.Flatten(2), lambda: nn.Conv1d(4, 5, 3, 2)),
    "conv3d": (Does(lambda x: x.unsqueeze(1)), lambda: nn.Conv3d(1, 5, 2)),
}


def check(net: Head, x: Tensor, leak: float | Tensor, *more: str, **how: Any) -> None:
    """The gradients are SLTT's, but for the weights of layers that neurons feed, which see leaky sums."""
    how["layout"] = "step"
    seen = {name: Seen(net.get_submodule(name)) for name in ("weighted", "last", *more)}
    state = {name: value.clone() for name, value in net.state_dict().items()}
    sltt, expected = trained(net, x, loss, grad_mode="sltt", **how)
    for name, of_layer in seen.items():
        inner = net.get_submodule(name)
        T = len(x)
        traces = leaky_sums(of_layer.inputs[:T], leak)
        expected[f"{name}.weight"] = weight_gradient(inner, traces, of_layer.grads[:T])
    net.load_state_dict(state)
    ottt, found = trained(net, x, loss, grad_mode="ottt", **how)
    assert distance(found, expected) < 1e-9
    torch.testing.assert_close((ottt.loss, ottt.y), (sltt.loss, sltt.y))


@pytest.mark.parametrize("name", BETWEEN)
def test_what_stands_between_acts_on_the_trace_as_on_the_spikes(name: str) -> None:
    between, weighted = BETWEEN[name]
    check(made(between, weighted()), frames(4), 0.5)


@pytest.mark.parametrize(
    ("name", "leak"),
    [("hard", 0.5), ("decayed input", 0.5), ("IF", 1.0), ("PLIF", 0.5), ("complementary", 0.5)],
)
def test_a_trace_has_the_leak_of_its_neuron(name: str, leak: float) -> None:
    check(made(nn.Identity(), CONV(), NEURONS[name]), frames(5), leak)


def test_a_learnt_leak_is_the_traces_as_it_is_now() -> None:
    net = made(nn.Identity(), CONV(), NEURONS["PLIF"])
    nodes: list[Any] = [net.spikes, net.more]
    for node in nodes:
        nn.init.constant_(node.w, 1.3)
    check(net, frames(4), 1 / (1 + math.exp(1.3)))


some = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@some
@given(
    st.integers(1, 6), st.floats(1.05, 5.0), st.floats(0.1, 1.5), st.booleans(), st.sampled_from([*BETWEEN])
)
def test_any_leak_threshold_and_number_of_steps(
    T: int, tau: float, threshold: float, decays: bool, name: str
) -> None:
    between, weighted = BETWEEN[name]
    net = made(between, weighted(), lambda: lif(tau=tau, v_threshold=threshold, decay_input=decays))
    check(net, frames(T), 1 - 1 / tau)


def test_dropout_masks_the_trace_as_the_spikes() -> None:
    for dropout in (
        nn.Dropout(0.4),
        nn.Dropout2d(0.4),
        layer.Dropout(0.4),
        Does(lambda x: F.dropout(x, 0.4)),
    ):
        check(made(dropout, CONV()), frames(4), 0.5)


def test_max_pooling_takes_the_trace_where_the_spikes_have_their_maximum() -> None:
    class Pools(nn.Module):
        """As max pooling, by a mask that is fixed once the spikes are known: linear in the trace."""

        def __init__(self) -> None:
            super().__init__()
            self.inputs: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            plain = torch.as_tensor(x.detach().numpy())
            _, at = F.max_pool2d(plain, 2, return_indices=True)
            mask = torch.zeros_like(plain).flatten(2).scatter_(2, at.flatten(2), 1.0).view_as(plain)
            return F.avg_pool2d(x * mask, 2) * 4

    by_mask, by_pool = made(Pools(), CONV()), made(nn.MaxPool2d(2), CONV())
    one, two = (trained(net, frames(4), loss, grad_mode="ottt")[1] for net in (by_mask, by_pool))
    assert distance(two, one) < 1e-9
    assert (
        distance(trained(made(nn.AdaptiveMaxPool2d(3), CONV()), frames(4), loss, grad_mode="ottt")[1], one)
        < 1e-9
    )


def test_a_term_of_a_sum_without_a_trace_counts_as_its_own() -> None:
    """W(s + x): the trace of s, and x itself."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.node, self.last = nn.Linear(4, 4), lif(v_threshold=0.2), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.node(self.first(x)) + x)

    torch.manual_seed(0)
    net, x = Sum().double(), torch.randn(4, 3, 4).double()
    of_last, of_node = Seen(net.last), Seen(net.node)
    spikes: list[Tensor] = []
    net.node.register_forward_hook(lambda _, args, y: spikes.append(y.detach()))
    _, expected = trained(net, x, loss, grad_mode="sltt")
    traces = [a + x_t for a, x_t in zip(leaky_sums(spikes, 0.5), x, strict=True)]
    expected["last.weight"] = weight_gradient(net.last, traces, of_last.grads)
    assert len(of_node.inputs) == 4
    assert distance(trained(net, x, loss, grad_mode="ottt")[1], expected) < 1e-9


@pytest.mark.parametrize("T", [1, 4])
def test_residual_blocks_and_traces_of_different_leaks_add_up(T: int) -> None:
    """A layer behind a sum of two neurons sees the sum of their traces, each with its own leak."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.slow, self.fast = nn.Linear(4, 4), lif(tau=4.0), lif(tau=1.25)
            self.last = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(self.slow(x) + self.fast(x))

    torch.manual_seed(0)
    net, x = Two().double(), torch.randn(T, 3, 4).double()
    of_last = Seen(net.last)
    spikes: dict[str, list[Tensor]] = {"slow": [], "fast": []}
    for name, given_off in spikes.items():
        net.get_submodule(name).register_forward_hook(lambda _, args, y, to=given_off: to.append(y.detach()))
    _, expected = trained(net, x, loss, grad_mode="sltt")
    parts = zip(leaky_sums(spikes["slow"], 0.75), leaky_sums(spikes["fast"], 0.2), strict=True)
    expected["last.weight"] = weight_gradient(net.last, [a + b for a, b in parts], of_last.grads)
    assert distance(trained(net, x, loss, grad_mode="ottt")[1], expected) < 1e-9


def test_a_product_with_a_matrix_of_weights_is_a_linear_layer() -> None:
    class ByHand(nn.Linear):
        def __init__(self, how: str) -> None:
            super().__init__(36, 5)
            self.how = how

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(2)
            if self.how == "einsum":
                return torch.einsum("bcd,kd->bck", x, self.weight) + self.bias
            return (x @ self.weight.t() if self.how == "@" else x.matmul(self.weight.mT)) + self.bias

    for how in ("@", "matmul", "einsum"):
        check(made(nn.Identity(), ByHand(how)), frames(4), 0.5)


def test_a_layer_that_no_neuron_feeds_has_its_input_itself() -> None:
    """The first layer, ones behind another layer with weights and a function that is not linear."""
    product, in_place = (
        Does(lambda x: x * x.roll(1, 1)),
        Does(lambda x: F.leaky_relu(x * 2 - 1, 0.5, inplace=True)),
    )
    for between in (nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Softmax(1), product, in_place):
        net = made(between, CONV(), lambda: lif(v_threshold=0.1))
        one, two = (trained(net, frames(4), loss, grad_mode=mode)[1] for mode in ("sltt", "ottt"))
        same = {name: g for name, g in two.items() if name.startswith(("first", "norm", "weighted"))}
        assert distance(same, {name: one[name] for name in same}) < 1e-9
        assert distance({"last": two["last.weight"]}, {"last": one["last.weight"]}) > 1e-3


def test_batch_norm_and_the_gradient_towards_the_input_are_those_of_the_spikes() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8)
    body = [nn.Flatten(), nn.Linear(72, 8), lif(), nn.Linear(8, 8), norm, lif()]
    net = nn.Sequential(*body, nn.Linear(8, 3)).double()
    found, buffers = [], []
    for mode in ("sltt", "ottt"):
        norm.reset_running_stats()
        found.append(trained(net, frames(4), loss, grad_mode=mode)[1])
        buffers.append({name: b.clone() for name, b in net.named_buffers()})
    same = ("1.weight", "1.bias", "4.weight", "4.bias", "3.bias")
    assert distance({k: found[1][k] for k in same}, {k: found[0][k] for k in same}) < 1e-12
    torch.testing.assert_close(buffers[0], buffers[1])


def test_the_spikes_of_a_recurrent_layer_keep_their_trace_into_the_next_step() -> None:
    """Fed back through weights, they are seen one step late, with the trace that they had."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.back, self.node = (
                nn.Linear(4, 4),
                nn.Linear(4, 4, bias=False),
                lif(v_threshold=0.2),
            )
            self.last, self.spikes = nn.Linear(4, 3), torch.zeros(())

        def forward(self, x: Tensor) -> Tensor:
            current = self.first(x)
            if self.spikes.dim():
                current = current + self.back(self.spikes)
            self.spikes = self.node(current)
            return self.last(self.spikes)

    torch.manual_seed(0)
    net, x = Recurrent().double(), torch.randn(5, 3, 4).double()
    seen = {name: Seen(net.get_submodule(name)) for name in ("back", "last")}
    _, expected = trained(net, x, loss, grad_mode="sltt", layout="step")
    assert type(net.spikes) is Tensor
    for name, of_layer in seen.items():
        traces = leaky_sums(of_layer.inputs, 0.5)
        expected[f"{name}.weight"] = weight_gradient(net.get_submodule(name), traces, of_layer.grads)
    net.spikes = torch.zeros(())
    _, found = trained(net, x, loss, grad_mode="ottt", layout="step")
    assert distance(found, expected) < 1e-9 and type(net.spikes) is Tensor
    assert found["back.weight"].abs().sum() > 0


@pytest.mark.parametrize("mode", ["sltt", "ottt"])
def test_recurrent_containers_and_checkpoints(mode: str) -> None:
    """SpikingJelly's recurrent container keeps its output as a state; a checkpoint runs its layer again."""

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)

    torch.manual_seed(0)
    recurrent = layer.LinearRecurrentContainer(lif(v_threshold=0.2), 6, 6, bias=False)
    last = Checkpointed()
    net = nn.Sequential(nn.Linear(4, 6), recurrent, last, nn.Linear(6, 3)).double()
    x = torch.randn(5, 3, 4).double()
    seen = {"1.rc": Seen(recurrent.rc), "2.inner": Seen(last.inner)}
    _, expected = trained(net, x, loss, grad_mode="sltt", layout="step")
    for name, of_layer in seen.items():
        inputs = of_layer.inputs[:: len(of_layer.inputs) // len(x)]  # without a checkpoint's second calls
        traces = leaky_sums(inputs, 0.5)
        if name == "1.rc":  # its input is what comes in, without a trace, beside its last spikes
            traces = [torch.cat([x_t[:, :6], a[:, 6:]], 1) for x_t, a in zip(inputs, traces, strict=True)]
        if mode == "ottt":
            expected[f"{name}.weight"] = weight_gradient(net.get_submodule(name), traces, of_layer.grads)
    _, found = trained(net, x, loss, grad_mode=mode, layout="step")
    assert distance(found, expected) < 1e-9 and found["1.rc.weight"].abs().sum() > 0


@pytest.mark.parametrize("layout", ["step", "TB", "BT"])
def test_in_every_layout(layout: str) -> None:
    class Handles(nn.Module):
        """Takes and gives sequences, as the layout says."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.node, self.last = nn.Linear(72, 6), lif(step_mode="m"), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            if layout == "BT":
                x = x.transpose(0, 1)
            x_seq = self.first(x.flatten(0, 1).flatten(1)).unflatten(0, x.shape[:2])
            y_seq = self.last(self.node(x_seq).flatten(0, 1)).unflatten(0, x.shape[:2])
            return y_seq.transpose(0, 1) if layout == "BT" else y_seq

    torch.manual_seed(0)
    inner = Handles().double()
    net: nn.Module = nn.Sequential(nn.Flatten(), inner.first, inner.node, inner.last)
    expected = list(trained(net, frames(4), loss, grad_mode="ottt")[1].values())
    if layout != "step":
        inner.node.step_mode = "m"  # type: ignore[assignment]
        net = inner
    found = list(trained(net, frames(4), loss, grad_mode="ottt", layout=layout)[1].values())
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(found, expected, strict=True))
    assert len(found) == len(expected) == 4


def test_backward_hooks_change_nothing() -> None:
    net = made(nn.AvgPool2d(2), CONV())
    _, expected = trained(net, frames(4), loss, grad_mode="ottt")
    called = []
    for module in (net.between, net.weighted, net.spikes):
        module.register_full_backward_hook(lambda module, grad_in, grad_out: called.append(module))
    assert distance(trained(net, frames(4), loss, grad_mode="ottt")[1], expected) < 1e-12
    assert len(called) == 12


def test_under_autocast_it_is_nearly_the_same() -> None:
    net = made(nn.AvgPool2d(2), CONV()).float()
    x = frames(4).float()
    _, expected = trained(net, x, loss, grad_mode="ottt")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step, found = trained(net, x, loss, grad_mode="ottt")
    assert step.y.dtype == torch.float32
    cosine = F.cosine_similarity(found["weighted.weight"].flatten(), expected["weighted.weight"].flatten(), 0)
    assert cosine > 0.9 and all(g.dtype == torch.float32 for g in found.values())


class Own(neuron.LIFNode):
    """Computes something of its own."""

    def single_step_forward(self, x: Tensor) -> Tensor:
        return super().single_step_forward(x * 2)


@pytest.mark.parametrize(
    "make",
    [Own, PlainNeuron, NEURONS["KLIF"], NEURONS["CUBALIF"], neuron.QIFNode, neuron.OTTTLIFNode],
)
def test_a_neuron_of_unknown_leak_is_refused_by_its_path_until_it_says_it(
    make: Callable[[], nn.Module],
) -> None:
    net, x = made(nn.Identity(), CONV()), frames(3)
    net.more = make().double()
    with pytest.raises(NoRuleError, match=r"the leak of more .*trace_leak = 0.5, or use grad_mode='sltt'"):
        rbp.backward(net, x, loss, grad_mode="ottt", layout="step")
    assert not gradients(net)


def test_a_neuron_of_ones_own_says_its_leak() -> None:
    net = made(nn.Identity(), nn.Conv2d(4, 5, 3))
    net.spikes = PlainNeuron().double()
    leak = torch.tensor([0.1, 0.3, 0.5, 0.7]).double().view(4, 1, 1)
    net.spikes.trace_leak = leak
    seen = Seen(net.weighted)
    _, expected = trained(net, frames(4), loss, grad_mode="sltt")
    net.norm.reset_running_stats()
    of_weighted = weight_gradient(net.weighted, leaky_sums(seen.inputs, leak), seen.grads)
    _, found = trained(net, frames(4), loss, grad_mode="ottt")
    assert distance({"w": found["weighted.weight"]}, {"w": of_weighted}) < 1e-9
    assert distance({"w": found["weighted.weight"]}, {"w": expected["weighted.weight"]}) > 1e-3


def test_weights_that_are_hidden_in_a_function_are_refused() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(2).mT
            return self.inner(x, x, x)[0]

    net = made(Attends(), nn.Linear(4, 5))
    trained(net, frames(2), loss, grad_mode="sltt")
    with pytest.raises(NoRuleError, match="applies learnable weights to spikes"):
        rbp.backward(net, frames(2), loss, grad_mode="ottt")


def test_writing_to_a_part_of_the_spikes_is_refused() -> None:
    def writes(x: Tensor) -> Tensor:
        y = x * 1
        y[:, 0].mul_(2.0)
        return y

    with pytest.raises(NoRuleError, match="writes in place to a part of the spikes"):
        rbp.backward(made(Does(writes), CONV()), frames(2), loss, grad_mode="ottt")


def test_residual_networks_train() -> None:
    torch.manual_seed(0)
    block = Residual(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), lif())
    net = made(block, CONV())
    check(net, frames(4), 0.5, "between.block.0")
    other = made(block, CONV())
    each_step(other, frames(4), loss)
    assert gradients(other).keys() == gradients(net).keys()
