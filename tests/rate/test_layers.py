"""Every layer type: at T=1 rate is BPTT, the rate is the time mean, and mode s is mode m without batch
statistics."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import rbp
from tests.support.networks import BPTT, RATE, After, apart, distance, lif, step

D1, D2, D3 = (6, 8), (6, 8, 8), (4, 4, 4, 4)
COMMUTING = {
    "conv1d": (lambda: nn.Conv1d(6, 4, 3, stride=2, padding=1), D1),
    "conv1d circular": (lambda: nn.Conv1d(6, 4, 3, padding=2, padding_mode="circular"), D1),
    "conv2d stride": (lambda: nn.Conv2d(6, 4, 3, stride=(2, 1), padding=(1, 0)), D2),
    "conv2d groups": (lambda: nn.Conv2d(6, 12, 3, groups=3, bias=False), D2),
    "conv2d depthwise": (lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6), D2),
    "conv2d dilation": (lambda: nn.Conv2d(6, 4, 3, dilation=(1, 2), padding=2), D2),
    "conv2d same": (lambda: nn.Conv2d(6, 4, (2, 4), padding="same"), D2),
    "conv2d valid": (lambda: nn.Conv2d(6, 4, 3, padding="valid"), D2),
    "conv2d reflect": (lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), D2),
    "conv2d replicate": (lambda: nn.Conv2d(6, 4, 3, padding=(2, 1), padding_mode="replicate"), D2),
    "conv3d": (lambda: nn.Conv3d(4, 3, 3, stride=2, padding=1, groups=1), D3),
    "conv transpose": (lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1), D2),
    "linear on the last axis": (lambda: nn.Linear(8, 5), D2),
    "average pool 1d": (lambda: nn.AvgPool1d(2), D1),
    "average pool 2d": (lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), D2),
    "average pool 3d": (lambda: nn.AvgPool3d(2), D3),
    "adaptive 1d": (lambda: nn.AdaptiveAvgPool1d(3), D1),
    "adaptive 2d": (lambda: nn.AdaptiveAvgPool2d((3, 1)), D2),
    "adaptive 3d": (lambda: nn.AdaptiveAvgPool3d(1), D3),
    "dropout": (lambda: nn.Dropout(0.4), D2),
    "dropout 2d": (lambda: nn.Dropout2d(0.4), D2),
    "spikingjelly dropout": (lambda: sj.Dropout(0.4), D2),
    "flatten": (lambda: nn.Flatten(), D2),
    "identity": (lambda: nn.Identity(), D2),
    "upsample": (lambda: nn.Upsample(scale_factor=2), D2),
    "frozen conv": (lambda: nn.Conv2d(6, 4, 3).requires_grad_(False), D2),
    "frozen weight": (lambda: _frozen(nn.Conv2d(6, 4, 3), "weight"), D2),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Conv2d(6, 4, 3)), D2),
    "batch norm in eval": (lambda: _used(nn.BatchNorm2d(6)).eval(), D2),
}
NORMALISING = {
    "batch norm 1d": (lambda: nn.BatchNorm1d(6), D1),
    "batch norm 2d": (lambda: nn.BatchNorm2d(6), D2),
    "batch norm 3d": (lambda: nn.BatchNorm3d(4), D3),
    "batch norm of features": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.BatchNorm1d(4)), D1),
    "batch norm, no affine": (lambda: nn.BatchNorm2d(6, affine=False), D2),
    "batch norm, frozen": (lambda: nn.BatchNorm2d(6).requires_grad_(False), D2),
    "batch norm, no running": (lambda: nn.BatchNorm2d(6, track_running_stats=False), D2),
    "batch norm, cumulative": (lambda: nn.BatchNorm2d(6, momentum=None), D2),
    "sync batch norm": (lambda: nn.SyncBatchNorm(6), D2),
}
OWN_STATISTICS = {
    "group norm": (lambda: nn.GroupNorm(3, 6), D2),
    "group norm, no affine": (lambda: nn.GroupNorm(2, 6, affine=False), D1),
    "layer norm": (lambda: nn.LayerNorm([8, 8]), D2),
    "layer norm, no bias": (lambda: nn.LayerNorm(8, bias=False), D1),
    "layer norm, no affine": (lambda: nn.LayerNorm(8, elementwise_affine=False), D2),
    "max pool 1d": (lambda: nn.MaxPool1d(3, 2, 1), D1),
    "max pool 2d": (lambda: nn.MaxPool2d(3, 2, 1), D2),
    "max pool 2d ceil": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), D2),
    "max pool 2d dilated": (lambda: nn.MaxPool2d((2, 3), stride=(1, 2), dilation=(3, 1), padding=1), D2),
}
LAYERS = COMMUTING | NORMALISING | OWN_STATISTICS


def _frozen(layer: nn.Module, name: str) -> nn.Module:
    getattr(layer, name).requires_grad_(False)
    return layer


def _used(norm: nn.BatchNorm2d) -> nn.Module:
    """Running statistics that are not those of the data."""
    nn.init.normal_(norm.get_buffer("running_mean"), 0.2, 0.1)
    nn.init.uniform_(norm.get_buffer("running_var"), 0.1, 0.4)
    return norm


class KeepsEval(After):
    """A network whose layer under test stays in eval while it trains, if it was so."""

    def train(self, mode: bool = True) -> "KeepsEval":
        inner = self.layer.training if hasattr(self, "layer") else True
        super().train(mode)
        self.layer.train(inner)
        return self


def make(name: str) -> Callable[[], nn.Module]:
    layer, shape = LAYERS[name]
    return lambda: KeepsEval(layer(), shape)


def frames(name: str, T: int, B: int = 4) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(T, B, *LAYERS[name][1])


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("name", LAYERS)
def test_at_one_step_rate_is_bptt(name: str, step_mode: str) -> None:
    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(make(name), frames(name, 1), RATE | how, BPTT | how) < 1e-8


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_output_is_that_of_the_spikes_at_any_number_of_steps(name: str, step_mode: str) -> None:
    """Exact, where the published code's second pass on rates gives the operators' output of the rate."""
    torch.manual_seed(3)
    net, x = make(name)(), frames(name, 4)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    by_bptt, _ = step(net, x, step_mode=step_mode, grad_mode="bptt", per_step=True)
    after_bptt = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(state)
    by_rate, _ = step(net, x, step_mode=step_mode, grad_mode="rate", per_step=True)
    torch.testing.assert_close(by_rate, by_bptt, rtol=1e-4, atol=1e-5)
    for key, value in net.state_dict().items():  # batch normalisation's running statistics among them
        torch.testing.assert_close(value, after_bptt[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", COMMUTING | OWN_STATISTICS)
def test_without_batch_statistics_mode_s_is_mode_m_on_frames(name: str) -> None:
    assert apart(make(name), frames(name, 4), RATE | {"step_mode": "s"}, RATE | {"step_mode": "m"}) < 1e-8


@pytest.mark.parametrize("name", [n for n in COMMUTING if "dropout" not in n])
def test_after_one_spiking_layer_on_a_static_input_rate_is_bptt_at_any_number_of_steps(name: str) -> None:
    x = frames(name, 1)[0].expand(5, 4, *LAYERS[name][1])
    assert apart(make(name), x, RATE, BPTT) < 1e-8


def test_dropout_has_one_mask_for_all_steps_in_both_gradient_modes_and_step_modes() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Dropout(0.5), lif(v_threshold=0.1), nn.Identity())
    x = torch.ones(4, 64)
    for how in (BPTT, RATE):
        for step_mode in "ms":
            y = rbp.forward(net, x, T=6, step_mode=step_mode, per_step=True, **how)
            assert y.unique(dim=0).shape[0] == 1 and 0 < y.mean() < 1
            # not one mask for all time: the next forward pass draws another
            assert not torch.equal(y, rbp.forward(net, x, T=6, step_mode=step_mode, per_step=True, **how))


class OwnForward(nn.Module):
    """What a network may do between its layers, in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.lif1 = nn.Conv2d(2, 8, 3, padding=1), lif(v_threshold=0.3)
        self.conv2, self.lif2 = nn.Conv2d(8, 8, 3, padding=1), lif(v_threshold=0.3)
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.matrix = nn.Parameter(torch.randn(16, 16) / 4)
        self.fc = nn.Linear(16 * 12, 5)

    def forward(self, x: Tensor) -> Tensor:
        B = x.shape[0]
        a = self.lif1(self.conv1(input=x))
        identity = a
        b = self.lif2(self.conv2(a) * 0.5 + a / 2 - 0.1)
        b += identity  # in place
        b = 2.0 * b - identity.mul(self.scale) + (1 - a)
        left, right = torch.cat([b, a], dim=1)[:, :12].chunk(2, dim=1)
        c = torch.stack([left, -right], dim=1).flatten(1, 2).add_(0.25)
        c = F.avg_pool2d(c.permute(0, 1, 3, 2).contiguous(), 2).view(B, 12, -1)
        c = F.linear(c, self.matrix).transpose(1, 2) + torch.ones(16, 1) @ torch.ones(1, 12)
        c = c * torch.ones_like(c) + c.new_zeros(12) + torch.zeros_like(c)
        return self.fc((self.matrix @ c).reshape(B, c.size(1) * c.shape[-1]))


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_sums_cat_reshapes_and_constants_in_the_networks_own_forward(step_mode: str) -> None:
    x = torch.randn(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(OwnForward, x, RATE | how, BPTT | how) < 1e-8
    x = torch.randn(4, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert apart(OwnForward, x, RATE | how, RATE) < 1e-8
    net = OwnForward()
    y_rate, _ = step(net, x, per_step=True, **RATE, **how)
    y_bptt, _ = step(net, x, per_step=True, **BPTT, **how)
    torch.testing.assert_close(y_rate, y_bptt, rtol=1e-4, atol=1e-5)


class Functional(nn.Module):
    """Layers as functions: pooling, normalisation and dropout called with the module's own parameters."""

    mean: Tensor
    var: Tensor

    def __init__(self, p: float = 0.3) -> None:
        super().__init__()
        self.conv, self.lif, self.fc = nn.Conv2d(2, 6, 3, padding=1), lif(v_threshold=0.3), nn.Linear(96, 5)
        self.p = p
        self.gain = nn.Parameter(torch.rand(6) + 0.5)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("var", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.lif(self.conv(x))
        x = F.dropout(F.max_pool2d(x, 2), self.p, self.training)
        x = F.group_norm(x, 2, self.gain)
        x = F.batch_norm(x, self.mean, self.var, self.gain, None, self.training)
        return self.fc(F.layer_norm(x, (4, 4)).flatten(1))


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_layers_called_as_functions_take_the_layers_rules(step_mode: str) -> None:
    x = torch.randn(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(Functional, x, RATE | how, BPTT | how) < 1e-8
    x = torch.randn(3, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    p = (
        0.3 if step_mode == "m" else 0.0
    )  # in BPTT's single steps a function draws a mask of its own each step
    torch.manual_seed(0)
    y_rate, _ = step(Functional(p), x, **RATE, **how)
    torch.manual_seed(0)
    y_bptt, _ = step(Functional(p), x, **BPTT, **how)
    torch.testing.assert_close(y_rate, y_bptt, rtol=1e-4, atol=1e-5)


class Shared(nn.Module):
    """One convolution and one normalisation in two places each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.lif1, self.lif2, self.fc = lif(v_threshold=0.5), lif(v_threshold=0.5), nn.Linear(256, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lif1(self.bn(self.conv(x)))
        return self.fc(self.lif2(self.bn(self.conv(x))).flatten(1))


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_shared_weights_gather_the_gradients_of_every_place(step_mode: str) -> None:
    x = torch.randn(1, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(Shared, x, RATE | how, BPTT | how) < 1e-8
    x = torch.randn(3, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    net = Shared()
    y_rate, _ = step(net, x, **RATE, **how)
    y_bptt, _ = step(net, x, **BPTT, **how)
    torch.testing.assert_close(y_rate, y_bptt, rtol=1e-4, atol=1e-5)
    assert net.bn.num_batches_tracked == (4 if step_mode == "m" else 12)


class LinearBranch(nn.Module):
    """A network of linear operators; its neuron hangs on a branch that reaches no output."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 9), nn.Linear(9, 5)
        )
        self.aside = lif()

    def forward(self, x: Tensor) -> Tensor:
        self.aside(x)
        return self.body(x)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_linear_network_has_the_gradients_of_bptt_on_any_frames(step_mode: str) -> None:
    x = torch.randn(6, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(LinearBranch, x, RATE | how, BPTT | how) < 1e-8


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_network_may_end_in_a_neuron(step_mode: str) -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(32, 5), lif(v_threshold=0.2))

    x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)).expand(5, 3, 2, 4, 4)
    how: dict[str, Any] = {"step_mode": step_mode}
    assert apart(net, x, RATE | how, BPTT | how) < 1e-8


def test_a_frozen_layer_gets_no_gradient_and_lets_it_through() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(8, 8), lif(v_threshold=0.1), nn.Linear(8, 8).requires_grad_(False), nn.Linear(8, 5)
    )
    _, gradients = step(net, torch.randn(4, 3, 8))
    assert set(gradients) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert all(g.abs().sum() > 0 for g in gradients.values())


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_the_input_gets_its_gradient_too(step_mode: str) -> None:
    """Each frame gets the share 1/T of the mean frame's; for a static input that is BPTT's, summed over t."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), lif(v_threshold=0.1), nn.Linear(8, 5))
    gradients = []
    for how in (RATE, BPTT):
        x = torch.ones(3, 8, requires_grad=True)
        rbp.forward(net, x.expand(4, 3, 8), step_mode=step_mode, **how).square().sum().backward()
        assert x.grad is not None
        gradients.append({"x": x.grad})
    assert distance(*gradients) < 1e-5


WRAPPED = {
    "conv1d": (lambda: sj.Conv1d(6, 4, 3, padding=1), D1),
    "conv2d": (lambda: sj.Conv2d(6, 4, 3, stride=2, padding_mode="circular", padding=1), D2),
    "conv3d": (lambda: sj.Conv3d(4, 2, 3), D3),
    "conv transpose": (lambda: sj.ConvTranspose2d(6, 4, 3, stride=2), D2),
    "linear": (lambda: sj.Linear(8, 5), D1),
    "standardised conv": (lambda: sj.WSConv2d(6, 4, 3), D2),
    "standardised linear": (lambda: sj.WSLinear(8, 5), D1),
    "batch norm 1d": (lambda: sj.BatchNorm1d(6), D1),
    "batch norm 2d": (lambda: sj.BatchNorm2d(6, affine=False), D2),
    "batch norm 3d": (lambda: sj.BatchNorm3d(4), D3),
    "group norm": (lambda: sj.GroupNorm(3, 6), D2),
    "torch's layer norm": (lambda: nn.LayerNorm(8), D1),
    "torch's linear": (lambda: nn.Linear(8, 5), D1),
    "max pool 1d": (lambda: sj.MaxPool1d(2), D1),
    "max pool 2d": (lambda: sj.MaxPool2d(3, 2, 1), D2),
    "average pool 2d": (lambda: sj.AvgPool2d(2), D2),
    "adaptive 1d": (lambda: sj.AdaptiveAvgPool1d(3), D1),
    "adaptive 2d": (lambda: sj.AdaptiveAvgPool2d(2), D2),
    "upsample": (lambda: sj.Upsample(scale_factor=2), D2),
    "flatten": (lambda: sj.Flatten(), D2),
    "dropout": (lambda: sj.Dropout(0.3), D2),
    "dropout 2d": (lambda: sj.Dropout2d(0.3), D2),
    "torch's dropout": (lambda: nn.Dropout(0.3), D2),
    "voting": (lambda: sj.VotingLayer(2), (8,)),
}


class Wrapped(nn.Module):
    """As After, with SpikingJelly's wrappers, for [T, B, ...] alone: nothing in it works on a single step."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.first, self.spiking, self.layer = sj.Linear(shape[-1], shape[-1]), lif(), layer
        functional.set_step_mode(self, "m")
        with torch.no_grad():
            self.first.weight.mul_(3.0)
            features = layer(torch.zeros(2, 2, *shape)).flatten(2).shape[2]
        functional.reset_net(self)
        self.last = sj.Linear(features, 5, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        T, B = x.shape[:2]
        return self.last(self.layer(self.spiking(self.first(x))).reshape(T, B, -1))


@pytest.mark.parametrize("name", WRAPPED)
def test_spikingjellys_wrappers_see_time_first_in_step_mode_m(name: str) -> None:
    layer, shape = WRAPPED[name]
    torch.manual_seed(1)
    x = torch.randn(4, 3, *shape)
    assert apart(lambda: Wrapped(layer(), shape), x[:1], RATE, BPTT) < 1e-8
    torch.manual_seed(3)
    net = Wrapped(layer(), shape)
    y_rate, _ = step(net, x, per_step=True, **RATE)
    y_bptt, _ = step(net, x, per_step=True, **BPTT)
    torch.testing.assert_close(y_rate, y_bptt, rtol=1e-4, atol=1e-5)
