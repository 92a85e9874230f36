"""Synaptic operations: by hand on small networks, and by loops over every product."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.op_counter import DispatchCounterMode, MACCounter, SynOpCounter
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from rbp.models.digits import digits_cnn
from tests.support.networks import lif
from tests.support.operations import counted, products_of_convolution, products_of_transposed

T, B = 3, 2


def firing() -> nn.Module:
    """A neuron that fires at every input of one or more."""
    return neuron.IFNode(v_threshold=1.0, v_reset=0.0)


def all_fire(weighted: Any) -> Any:
    """A layer whose output is one everywhere."""
    nn.init.zeros_(weighted.weight)
    nn.init.ones_(weighted.bias)
    return weighted


def spikes(*shape: int, most: int = 1) -> Tensor:
    return torch.randint(0, most + 1, shape, generator=torch.Generator().manual_seed(0)).float()


# --- by hand ------------------------------------------------------------------------------------------------


def test_a_convolution_with_borders_and_a_stride_and_a_linear_layer() -> None:
    """3 x 3, padding 1, stride 2 on 4 x 4: along an axis, the places are read by 1, 2, 1, 1 taps."""
    net = nn.Sequential(all_fire(nn.Conv2d(1, 2, 3, 2, padding=1)), firing(), nn.Flatten(), nn.Linear(8, 3))
    x = torch.zeros(2, 1, 1, 4, 4)
    x[0, 0, 0, 0, 0] = 1  # 1 x 1 taps, 2 channels: 2
    x[0, 0, 0, 1, 1] = 1  # 2 x 2 taps: 8
    x[0, 0, 0, 3, 1] = 1  # 1 x 2 taps: 4
    x[1, 0, 0, 1, 2] = 2  # two events, 2 x 1 taps: 8
    found = counted(net, x)
    assert found["over_t"]["additions"] == [14 + 8 * 3, 14 + 8 * 3 + 8 + 8 * 3]
    assert found["layers"]["0"] == {"additions": 22, "macs": 0, "ann_macs": 25 * 2, "static": False}
    assert found["layers"]["3"] == {"additions": 48, "macs": 0, "ann_macs": 24, "static": False}
    assert (found["additions"], found["macs"], found["ann"]["macs"], found["images"]) == (70, 0, 74, 1)
    assert found["energy_uj"] == pytest.approx(70 * 0.9e-6)
    assert found["ann"]["energy_uj"] == pytest.approx(74 * 4.6e-6)
    assert found["not_counted"] == {}


class Residual(nn.Module):
    """Spikes, and a branch whose spikes are added to them: sums of 2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch = firing(), all_fire(nn.Linear(3, 3))
        self.second, self.last = firing(), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        s = self.first(x)
        return self.last(self.second(self.branch(s)) + s)


def test_a_sum_of_spikes_counts_as_many_as_it_is_and_costs_nothing_itself() -> None:
    found = counted(Residual(), torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, 0.0, 1.0]]]))
    layers = {name: row["additions"] for name, row in found["layers"].items()}
    assert layers == {"branch": (2 + 1) * 3, "last": (2 + 1 + 2 + 1 + 1 + 2) * 4}
    assert found["over_t"]["additions"] == [6 + 20, 6 + 20 + 3 + 16]


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_static_first_layer_is_charged_once_and_at_every_step(step_mode: str) -> None:
    net = nn.Sequential(all_fire(nn.Linear(5, 4)), firing(), nn.Linear(4, 2))
    image = torch.rand(B, 5, generator=torch.Generator().manual_seed(0))
    image[0, 0] = 0.0  # a zero among fractions is a product as well, as in an ANN
    found = counted(net, image.expand(T, B, 5), step_mode)
    assert found["layers"]["0"] == {"additions": 0, "macs": T * 20, "ann_macs": 20, "static": True}
    assert found["layers"]["2"] == {"additions": T * 8, "macs": 0, "ann_macs": 8, "static": False}
    assert (found["additions"], found["macs"]) == (T * 8, T * 20)
    once = found["static_once"]
    assert (once["additions"], once["macs"]) == (T * 8, 20)
    assert once["energy_uj"] == pytest.approx((24 * 0.9 + 20 * 4.6) * 1e-6)
    assert found["energy_uj"] == pytest.approx((24 * 0.9 + 60 * 4.6) * 1e-6)
    by_t = [(8 * t * 0.9 + 20 * 4.6) * 1e-6 for t in (1, 2, 3)]
    assert found["over_t"]["energy_uj_static_once"] == pytest.approx(by_t)


def test_frames_of_fractions_are_no_static_input() -> None:
    found = counted(nn.Sequential(nn.Linear(5, 4), firing()), torch.rand(T, B, 5))
    assert found["layers"]["0"] == {"additions": 0, "macs": 60, "ann_macs": 20, "static": False}


# --- by loops -----------------------------------------------------------------------------------------------

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), axes=st.integers(1, 3), transposed=st.booleans())
def test_convolutions_of_any_kind_count_every_product(
    data: st.DataObject, axes: int, transposed: bool
) -> None:
    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    groups, dilation, stride, padding = draw(1, 2), draw(1, 2), draw(1, 3), draw(0, 2)
    sizes = [draw(3, 5) for _ in range(axes)]
    kernel = tuple(min(draw(1, 3), (size + 2 * padding - 1) // dilation + 1) for size in sizes)
    x = spikes(1, 1, 2 * groups, *sizes, most=2) - 1  # of either sign
    more = draw(0, stride - 1) if transposed else 0
    made: Any = TRANSPOSED[axes] if transposed else CONVOLUTIONS[axes]
    how = {
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "padding": padding if not transposed else 0,
    }
    net = made(
        2 * groups,
        2 * groups,
        kernel,
        **how,
        **({"output_padding": min(more, max(stride, dilation) - 1)} if transposed else {}),
    )
    found = counted(nn.Sequential(net, nn.Flatten()), x)
    given_ = (x[0, 0], net.weight, stride, how["padding"], dilation, groups)
    if transposed:
        expected = products_of_transposed(*given_, net.output_padding[0])
        dense = products_of_transposed(torch.ones_like(x[0, 0]), *given_[1:], net.output_padding[0])
    else:
        expected, dense = (
            products_of_convolution(*given_),
            products_of_convolution(torch.ones_like(x[0, 0]), *given_[1:]),
        )
    assert (found["additions"], found["macs"], found["ann"]["macs"]) == (expected, 0, dense)


@pytest.mark.parametrize("kernel", [2, 3])
def test_padding_same(kernel: int) -> None:
    conv = nn.Conv1d(1, 1, kernel, padding="same", dilation=3)
    x = spikes(1, 1, 1, 7)
    taps = torch.autograd.functional.jacobian(
        lambda v: F.conv1d(v, torch.ones(1, 1, kernel), padding="same", dilation=3), x[0]
    )
    expected = float((taps.sum((0, 1, 2)) * x[0]).sum())
    assert counted(nn.Sequential(conv, nn.Flatten()), x)["additions"] == expected


# --- pooling ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, padding=1),
        nn.AdaptiveAvgPool2d(3),  # from 4 x 4: windows that overlap
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Sequential(nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)),
    ],
)
def test_the_division_of_average_pooling_is_folded_into_the_weights(pool: nn.Module) -> None:
    """Spikes in windows of one's own sizes, by a sum of the ones that reach the linear layer."""
    x = spikes(T, B, 1, 4, 4)
    size = pool(x[0]).flatten(1).shape[1]
    net = nn.Sequential(firing(), pool, nn.Flatten(), nn.Linear(size, 5))
    pooled = torch.autograd.functional.jacobian(pool, torch.zeros(1, 1, 4, 4)).reshape(size, 16)
    in_window = (pooled != 0).double()
    expected = float((x.flatten(2).double() @ in_window.T).sum()) * 5 / B
    found = counted(net, x)
    assert (found["additions"], found["macs"]) == (pytest.approx(expected), 0)


def test_windows_cut_at_the_border_are_fractions() -> None:
    pool = nn.AvgPool2d(3, padding=1, count_include_pad=False)
    net = nn.Sequential(firing(), pool, nn.Flatten(), nn.Linear(4, 5))
    assert counted(net, spikes(T, B, 1, 4, 4))["macs"] == T * 20


class Pooling(nn.Module):
    """A mean in the network's own forward, and a shortcut around it that sees the spikes themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron, self.last, self.shortcut = firing(), nn.Linear(2, 5), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        s = self.neuron(x)
        return self.last(s.mean(2)) + self.shortcut(s.flatten(1))


def test_a_mean_is_folded_and_does_not_touch_what_is_not_pooled() -> None:
    x = spikes(T, B, 2, 4)
    found = counted(Pooling(), x)["layers"]
    assert found["last"]["additions"] == found["shortcut"]["additions"] == float(x.sum()) * 5 / B


# --- where the products are ---------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.q, self.k, self.fire = how, firing(), firing(), firing()
        self.last = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.q(x), self.k(1 - x)
        if self.how == "einsum":
            found = torch.einsum("...ij,...jk->...ik", q, k)
        else:
            found = q @ k if self.how == "@" else torch.matmul(q, k)
        return self.last(self.fire(found).sum(-2))


@pytest.mark.parametrize("how", ["@", "matmul"])
@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_attention_is_driven_by_the_side_with_fewer_additions(how: str, step_mode: str) -> None:
    x = (torch.rand(T, B, 3, 3, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    found = counted(Attention(how), x, step_mode)["layers"]
    assert found["Attention"]["additions"] == float(x.sum()) * 3 / B < float((1 - x).sum()) * 3 / B
    assert found["Attention"]["ann_macs"] == 27


def test_what_is_not_counted_is_said() -> None:
    found = counted(Attention("einsum"), spikes(T, B, 3, 3), "s")
    assert found["not_counted"] == {"Attention": "einsum is not counted"}


class Own(nn.Module):
    """A layer that multiplies without torch's functions for it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(1) * self.weight).sum(2)


def test_a_layer_that_multiplies_in_its_own_way_is_named() -> None:
    found = counted(nn.Sequential(Own(), firing(), nn.Linear(4, 2)), spikes(T, B, 5))
    assert found["not_counted"] == {"0": "it multiplies in a way that is not known"}
    assert list(found["layers"]) == ["2"]


# --- how the network takes time -----------------------------------------------------------------------------


def test_step_modes_agree() -> None:
    torch.manual_seed(0)
    net = digits_cnn(lif, 1, 10)
    for x in (torch.rand(B, 1, 8, 8).expand(T, B, 1, 8, 8), spikes(T, B, 1, 8, 8)):
        assert counted(net, x, "m") == counted(net, x, "s")


class Wrapped(nn.Module):
    """SpikingJelly's wrappers, which see all steps; batch first or repeating an image if asked for."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        body = [layer.Conv2d(1, 3, 3, step_mode="m"), neuron.IFNode(v_threshold=0.1, step_mode="m")]
        self.body = nn.Sequential(*body, layer.Flatten(step_mode="m"), layer.Linear(12, 2, step_mode="m"))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "static":
            return self.body(x.expand(T, *x.shape))
        return self.body(x.transpose(0, 1)).transpose(0, 1) if self.how == "BT" else self.body(x)


class Loop(nn.Module):
    """A network that goes through the steps itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.inner(x) for _ in range(T)])


@pytest.mark.parametrize("B", [1, 2, 3])  # 3 is T, which the shapes must not confuse
def test_layouts_agree(B: int) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 3, 3), neuron.IFNode(v_threshold=0.1), nn.Flatten(), nn.Linear(12, 2))
    image = torch.rand(B, 1, 4, 4)
    x = image.expand(T, *image.shape)
    expected = counted(plain, x)
    numbers = {key: value for key, value in expected.items() if key != "layers"}
    assert expected["additions"] > 0 and expected["layers"]["0"]["static"]
    for how in ("TB", "BT", "static"):
        net = Wrapped(how)
        net.load_state_dict({f"body.{name}": value for name, value in plain.state_dict().items()})
        found = counted(net, image if how == "static" else x, layout=how, T=T)
        assert {key: value for key, value in found.items() if key != "layers"} == numbers, how
    found = counted(Loop(plain), image, layout="static", T=T)
    assert {key: value for key, value in found.items() if key != "layers"} == numbers


def test_nothing_is_left_behind_and_nothing_is_changed() -> None:
    torch.manual_seed(0)
    net = digits_cnn(lif, 1, 10).eval()
    x = torch.rand(T, B, 1, 8, 8)
    with torch.no_grad():
        before = [net(step) for step in x[:1]]
    counted(net, x)
    assert not hooks._global_forward_hooks and not hooks._global_forward_pre_hooks
    for module in net.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    functional.reset_net(net)
    with torch.no_grad():
        assert torch.equal(net(x[0]), before[0])


# --- beside SpikingJelly's counter --------------------------------------------------------------------------


def by_spikingjelly(net: nn.Module, x_seq: Tensor) -> tuple[float, float]:
    """Synaptic operations and MACs per image."""
    additions, macs = SynOpCounter(), MACCounter()
    with torch.no_grad(), DispatchCounterMode([additions, macs]):
        for x in x_seq:
            net(x)
    functional.reset_net(net)
    return additions.get_total() / x_seq.shape[1], macs.get_total() / x_seq.shape[1]


def spiking() -> nn.Module:
    torch.manual_seed(0)
    first = [nn.Conv2d(2, 8, 3, 2, padding=1, bias=False), neuron.IFNode(v_threshold=0.3)]
    second = [nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False), neuron.IFNode(v_threshold=0.3)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(128, 5))


def test_on_spikes_it_agrees_with_spikingjelly() -> None:
    x = spikes(T, B, 2, 8, 8)
    found = counted(spiking(), x)
    assert found["additions"] > 0
    assert (found["additions"], found["macs"]) == by_spikingjelly(spiking(), x)


def test_of_counts_of_events_spikingjelly_makes_macs_at_the_padding_too() -> None:
    """That it counts otherwise is why it is not used here; if this fails, it may have become right."""
    x = spikes(T, B, 2, 8, 8, most=3)
    found = counted(spiking(), x)
    additions, macs = by_spikingjelly(spiking(), x)
    assert found["macs"] == 0 and macs == T * 16 * 9 * 2 * 8  # of 16 places, all nine taps
    first = found["layers"]["0"]
    assert first["additions"] > 0 and first["ann_macs"] == 11 * 11 * 2 * 8
    assert found["additions"] - first["additions"] == additions
