"""SpikingJelly's side at its best: checkpoints that save, fused neurons, and which ones they were."""

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional
from torch import nn

from rbp.bench.contestants import BPTT, MEMOPT, contestant
from rbp.bench.spikingjelly_nets import (
    Unit,
    _in_units,
    as_spikingjelly,
    count_packed_bytes,
    neurons_used,
    with_float_states,
)
from rbp.models import build
from rbp.train.telemetry.costs import count_kept_bytes
from tests.support.configs import make

CUDA = torch.device("cuda")


def kept(name: str, x: torch.Tensor, *overrides: str) -> int:
    net, forward = contestant(name, make("T=3", "trainer.device=cpu", *overrides), x)
    sizes: list[int] = []
    with count_kept_bytes(net, sizes), count_packed_bytes(sizes):
        F.cross_entropy(forward(x, 3), torch.tensor([0, 1])).backward()
    return sum(sizes)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize(
    ("arch", "dataset", "shape"),
    [
        ("digits_cnn", "digits", (2, 1, 8, 8)),
        ("vgg11", "cifar10", (2, 3, 16, 16)),
        ("resnet18", "digits", (2, 1, 8, 8)),
    ],
)
def test_memopt_keeps_less_on_every_kind_of_network(
    arch: str, dataset: str, shape: tuple[int, ...], step_mode: str
) -> None:
    options = (f"arch={arch}", f"dataset={dataset}", f"step_mode={step_mode}")
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with_it, without = (kept(name, x, *options) for name in (MEMOPT, BPTT))
    assert 0 < with_it < (0.1 if step_mode == "m" else 0.5) * without


def test_every_layer_of_the_papers_networks_has_its_wrapper() -> None:
    net = build(make("arch=preact_resnet34", "dataset=cifar10")).eval()
    x = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wrapped = as_spikingjelly(net)
    by_step = torch.stack([wrapped(x_t) for x_t in x])
    functional.reset_net(wrapped)
    functional.set_step_mode(wrapped, "m")
    torch.testing.assert_close(wrapped(x), by_step, rtol=1e-4, atol=1e-5)


def test_packed_spikes_are_a_bit_each() -> None:
    x = torch.rand(2, 1, 8, 8)
    _, forward = contestant(MEMOPT, make("T=3", "trainer.device=cpu"), x)
    sizes: list[int] = []
    with count_packed_bytes(sizes):
        forward(x, 3).sum().backward()
    # What the second and third unit are given: T, batch, channels, places. The first one's is no spikes.
    assert sizes == [3 * 2 * 32 * 64 // 8, 3 * 2 * 64 * 64 // 8]
    forward(x, 3)
    assert len(sizes) == 2


def test_a_unit_ends_with_its_neurons_and_begins_with_spikes() -> None:
    found = _in_units(build(make()))
    kinds = [
        [type(layer).__name__ for layer in child] for child in found.children() if isinstance(child, Unit)
    ]
    assert kinds == [
        ["Conv2d", "BatchNorm2d", "LIFNode"],
        ["Conv2d", "BatchNorm2d", "LIFNode"],
        ["AvgPool2d", "Conv2d", "BatchNorm2d", "LIFNode"],
    ]
    assert [type(child).__name__ for child in found.children()][3:] == [
        "AdaptiveAvgPool2d",
        "Flatten",
        "Linear",
    ]


def test_blocks_with_neurons_inside_are_units_in_a_network_of_any_shape() -> None:
    resnet = build(make("arch=resnet18"))
    assert [len(child) for child in _in_units(resnet).children() if isinstance(child, Unit)] == [3] + 8 * [1]

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = build(make()), nn.Linear(10, 2)

    net = _in_units(Own())
    assert isinstance(net.body, Unit) and isinstance(net.head, nn.Linear)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_membrane_potentials_stay_float32_under_autocast(step_mode: str) -> None:
    x = torch.rand(4, 1, 8, 8)
    outputs = {}
    for name, prepare in (("as they come", lambda net: net), ("float32", with_float_states)):
        net = prepare(as_spikingjelly(build(make())))
        functional.set_step_mode(net, step_mode)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = net(x.expand(3, *x.shape) if step_mode == "m" else x)
        outputs[name] = y, {m.v.dtype for m in net.modules() if hasattr(m, "v")}
    assert outputs["as they come"][1] == {torch.bfloat16} and outputs["float32"][1] == {torch.float32}
    assert outputs["float32"][0].dtype == outputs["as they come"][0].dtype == torch.bfloat16


def test_which_kernels_the_neurons_ran_in(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = {"implementation": "triton", "unavailable": {"cuda": "not built"}}
    monkeypatch.setattr(
        functional, "neuron_implementation", lambda kind, device: bound if kind == "lif" else 0
    )
    net = build(make())
    assert neurons_used(net, CUDA, frozenset({"aten", "sj_lif"})) == ("triton", "cuda: not built")
    assert neurons_used(net, CUDA) == ("triton", "cuda: not built")
    assert neurons_used(net, CUDA, frozenset({"aten"}))[0] == "torch"  # bound, and yet not called
    assert neurons_used(nn.ReLU(), CUDA, frozenset({"aten"}))[0] == "torch"
    assert neurons_used(net, torch.device("cpu"), frozenset({"sj_lif"})) == ("torch", "")
