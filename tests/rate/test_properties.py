"""Properties over shapes, time steps, neurons and layer settings, drawn by hypothesis (the same at every
run)."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron, surrogate
from torch import nn

from tests.support.networks import BPTT, RATE, apart

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)

surrogates = st.one_of(
    st.builds(surrogate.Sigmoid, alpha=st.floats(1.0, 5.0)),
    st.builds(surrogate.ATan, alpha=st.floats(1.0, 4.0)),
    st.builds(surrogate.PiecewiseQuadratic, alpha=st.floats(0.5, 1.5)),
)
common = {
    "v_threshold": st.floats(0.3, 1.2),
    "v_reset": st.sampled_from([None, 0.0, -0.2]),
    "detach_reset": st.booleans(),
    "surrogate_function": surrogates,
}
neurons = st.one_of(
    st.builds(neuron.IFNode, **common),
    st.builds(neuron.LIFNode, tau=st.floats(1.05, 4.0), decay_input=st.booleans(), **common),
    st.builds(neuron.ParametricLIFNode, init_tau=st.floats(1.05, 4.0), decay_input=st.booleans(), **common),
    st.builds(neuron.KLIFNode, tau=st.floats(1.05, 4.0), scale_reset=st.booleans(), **common),
)


@st.composite
def convolutions(draw: st.DrawFn, channels: int) -> nn.Conv2d:
    """A convolution that fits 7 x 8 places, and how many numbers it makes of a sample."""
    groups = draw(st.sampled_from([1, 2]))
    mode: Any = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    size: Any = draw(st.sampled_from([1, 2, 3, (2, 3)]))
    stride: Any = draw(st.sampled_from([1, 2, (1, 2)]))
    conv = nn.Conv2d(
        *(channels, 4 * groups, size),
        stride=stride,
        padding=draw(st.integers(0, 2)),
        dilation=draw(st.integers(1, 2)),
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    )
    return conv


@st.composite
def norms(draw: st.DrawFn, channels: int) -> nn.Module:
    affine = draw(st.booleans())
    kinds = [
        lambda: nn.Identity(),
        lambda: nn.BatchNorm2d(channels, affine=affine, momentum=draw(st.sampled_from([0.1, 0.5, None]))),
        lambda: nn.BatchNorm2d(channels, affine=affine).eval(),
        lambda: nn.GroupNorm(2, channels, affine=affine),
    ]
    return draw(st.sampled_from(kinds))()


pools = st.sampled_from(
    [nn.Identity(), nn.AvgPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(2)]
)


def with_head(*layers: nn.Module) -> nn.Module:
    layers = (*layers, nn.Flatten())
    body = nn.Sequential(*(layer for layer in layers if not isinstance(layer, neuron.BaseNode)))
    training = [layer.training for layer in layers]
    with torch.no_grad():
        features = body.eval()(torch.zeros(1, 4, 7, 8)).shape[1]
    for layer, mode in zip(layers, training, strict=True):
        layer.train(mode)
    return nn.Sequential(*layers, nn.Linear(features, 5))


@few
@given(data=st.data(), node=neurons, T=st.integers(1, 6), B=st.integers(1, 3), mode=st.sampled_from("ms"))
def test_one_spiking_layer_with_a_static_input_is_bptt(
    data: st.DataObject, node: nn.Module, T: int, B: int, mode: str
) -> None:
    conv, norm = data.draw(convolutions(4)), data.draw(norms(4))
    net = with_head(norm, node, conv) if data.draw(st.booleans()) else with_head(conv, node)
    x = torch.randn(B, 4, 7, 8, generator=torch.Generator().manual_seed(T)) * 1.5
    assert (
        apart(lambda: net, x.expand(T, *x.shape), RATE | {"step_mode": mode}, BPTT | {"step_mode": mode})
        < 1e-7
    )


@few
@given(data=st.data(), nodes=st.tuples(neurons, neurons), B=st.integers(2, 4), mode=st.sampled_from("ms"))
def test_at_one_step_rate_is_bptt(
    data: st.DataObject, nodes: tuple[nn.Module, nn.Module], B: int, mode: str
) -> None:
    first = data.draw(convolutions(4))
    norm, pool = data.draw(norms(first.out_channels)), data.draw(pools)
    net = with_head(first, norm, nodes[0], pool, nn.Conv2d(first.out_channels, 4, 1), nodes[1])
    x = torch.randn(1, B, 4, 7, 8, generator=torch.Generator().manual_seed(B)) * 1.5
    assert apart(lambda: net, x, RATE | {"step_mode": mode}, BPTT | {"step_mode": mode}) < 1e-7


@few
@given(data=st.data(), nodes=st.tuples(neurons, neurons), T=st.integers(1, 6), B=st.integers(1, 3))
def test_without_batch_statistics_mode_s_is_mode_m_on_frames(
    data: st.DataObject, nodes: tuple[nn.Module, nn.Module], T: int, B: int
) -> None:
    first, pool = data.draw(convolutions(4)), data.draw(pools)
    norm = nn.GroupNorm(2, first.out_channels) if data.draw(st.booleans()) else nn.Identity()
    net = with_head(first, norm, nodes[0], pool, nn.Conv2d(first.out_channels, 4, 1), nodes[1])
    x = torch.randn(T, B, 4, 7, 8, generator=torch.Generator().manual_seed(B)) * 1.5
    assert apart(lambda: net, x, RATE | {"step_mode": "s"}, RATE) < 1e-7


@few
@given(data=st.data(), nodes=st.tuples(neurons, neurons), T=st.integers(2, 6), mode=st.sampled_from("ms"))
def test_the_output_is_bptts_on_any_frames(
    data: st.DataObject, nodes: tuple[nn.Module, nn.Module], T: int, mode: str
) -> None:
    first = data.draw(convolutions(4))
    norm, pool = data.draw(norms(first.out_channels)), data.draw(pools)
    net = with_head(first, norm, nodes[0], pool, nn.Conv2d(first.out_channels, 4, 1), nodes[1])
    x = torch.randn(T, 3, 4, 7, 8, generator=torch.Generator().manual_seed(T)) * 1.5
    apart(lambda: net, x, RATE | {"step_mode": mode}, BPTT | {"step_mode": mode})  # it compares the outputs
