"""What is held: bytes kept for the backward pass, and the most bytes of tensors alive at once, counted."""

import copy
from collections.abc import Callable

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

import rbp
from rbp.bench.contestants import RATE, RELU, contestant
from rbp.config.composition.places import CONF
from rbp.train.telemetry.costs import count_kept_bytes
from tests.support.configs import make
from tests.support.networks import kept_bytes, lif, most_alive


def network() -> nn.Module:
    stem = [nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), lif(v_threshold=0.5), nn.MaxPool2d(2)]
    body = [nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), neuron.KLIFNode(), nn.Dropout(0.2)]
    return nn.Sequential(
        *stem, *body, nn.AvgPool2d(2), neuron.ParametricLIFNode(), nn.Flatten(), nn.Linear(128, 5)
    )


def inputs(T: int, kind: str) -> torch.Tensor:
    torch.manual_seed(0)
    return (
        torch.rand(T, 4, 2, 16, 16) if kind == "frames" else torch.rand(4, 2, 16, 16).expand(T, 4, 2, 16, 16)
    )


@pytest.mark.parametrize("kind", ["frames", "static"])
@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_bytes_kept_for_backward_do_not_depend_on_t(kind: str, step_mode: str) -> None:
    net = network()
    kept = [kept_bytes(net, inputs(T, kind), step_mode=step_mode) for T in (2, 5, 16)]
    assert kept[0] == kept[1] == kept[2] > 0


@pytest.mark.parametrize("kind", ["frames", "static"])
def test_the_most_memory_in_mode_s_does_not_depend_on_t(kind: str) -> None:
    net = network()
    most = [most_alive(net, inputs(T, kind), step_mode="s") for T in (3, 6, 24)]
    assert most[0] == most[1] == most[2]


def test_the_most_memory_in_mode_m_grows_with_t_by_one_layer_however_many_there_are() -> None:
    x = torch.rand(12, 4, 4, 16, 16)

    def growth(layers: int) -> int:
        block = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), lif()]
        net = nn.Sequential(
            *(copy.deepcopy(m) for _ in range(layers) for m in block), nn.Flatten(), nn.Linear(1024, 5)
        )
        return most_alive(net, x) - most_alive(net, x[:4])

    one_layer = 8 * x[0].nbytes  # of the eight steps more, one sequence
    assert 0 < growth(3) == growth(9) <= 4 * one_layer


def test_the_counter_sees_memory_that_grows_with_t() -> None:
    net = network()
    alive = [most_alive(net, inputs(T, "frames"), step_mode="s", grad_mode="bptt") for T in (3, 24)]
    assert alive[1] > 4 * alive[0]


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
@pytest.mark.parametrize("steps", [1, 5, 64])
def test_max_pooling_keeps_no_more_than_behind_relus(
    steps: int, window: tuple[int, int, int], step_mode: str
) -> None:
    def net(make: Callable[[], nn.Module]) -> nn.Module:
        conv = [nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), make(), nn.MaxPool2d(*window)]
        return nn.Sequential(*conv, nn.Conv2d(8, 4, 3), make(), nn.Flatten())

    x = torch.rand(3, 2, 16, 16)
    kept = []
    for neurons, forward in (
        (nn.ReLU, lambda net: net(x)),
        (lif, lambda net: rbp.forward(net, x.expand(steps, *x.shape), step_mode=step_mode)),
    ):
        sizes: list[int] = []
        made = net(neurons)
        with count_kept_bytes(made, sizes):
            y = forward(made)
        kept.append(sum(sizes))
        assert y.requires_grad
    assert 0 < kept[1] <= kept[0]


ARCHS = sorted(file.stem for file in (CONF / "arch").glob("*.yaml"))
# Attention multiplies two rates, which are kept in float32 beside the neurons' eligibilities.
ATTENTION = {"sj_spikformer": 1.04, "sj_sdt": 1.06}


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS)
def test_no_architecture_keeps_more_for_the_backward_pass_than_it_does_with_relus(arch: str) -> None:
    """But for attention, which keeps a few per cent more."""
    cfg = make(f"arch={arch}", "dataset=cifar10", "T=3")
    x, kept = torch.rand(2, 3, 32, 32), {}
    for name in (RELU, RATE):
        net, forward = contestant(name, cfg, x)
        sizes: list[int] = []
        with count_kept_bytes(net, sizes):
            y = forward(x, cfg.T)
        kept[name] = sum(sizes)
        assert y.requires_grad
    assert 0 < kept[RATE] <= ATTENTION.get(arch, 1) * kept[RELU]
