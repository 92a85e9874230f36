"""Compiled kernels against plain ones, kind after kind of neuron in one process.

Each kind is a kernel of its own, which takes a compiler seconds: a CPU tries a dozen pairs of neuron,
surrogate and memory layout, a GPU all of them.
"""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

from rbp.rate.neurons import compiled
from tests.support.networks import step

Make = Callable[..., nn.Module]

# With their input decayed and not. IF neurons have no decay.
NEURONS: dict[str, Make] = {
    "if": neuron.IFNode,
    "lif": lambda **how: neuron.LIFNode(tau=1.25, decay_input=False, **how),
    "lif that decays": lambda **how: neuron.LIFNode(tau=1.25, decay_input=True, **how),
    "plif": lambda **how: neuron.ParametricLIFNode(init_tau=1.25, decay_input=False, **how),
    "plif that decays": lambda **how: neuron.ParametricLIFNode(init_tau=1.25, decay_input=True, **how),
}
SIGMOID, ATAN, ERF = (
    surrogate.Sigmoid(4.0),
    surrogate.ATan(2.0),
    surrogate.Erf(2.0),
)  # ERF: no formula of ours
WIDE, NARROW = surrogate.Sigmoid(1.5), surrogate.Sigmoid(7.0)

# neuron, v_reset (None: soft), detached, surrogate, channels last, static
DOZEN = [
    ("if", None, True, SIGMOID, False, True),
    ("if", 0.0, False, ATAN, True, False),
    ("lif", None, True, SIGMOID, False, False),
    ("lif", None, True, WIDE, False, False),
    ("lif", None, True, NARROW, True, True),
    ("lif", None, False, SIGMOID, True, True),
    ("lif", 0.0, True, ATAN, False, True),
    ("lif", 0.1, False, SIGMOID, False, False),
    ("lif that decays", None, True, ATAN, True, False),
    ("lif that decays", 0.1, True, SIGMOID, False, True),
    ("plif", None, True, SIGMOID, False, False),
    ("plif that decays", 0.1, False, ATAN, True, True),
]
EVERY = list(
    itertools.product(
        NEURONS, (None, 0.0, 0.1), (True, False), (SIGMOID, WIDE, ATAN, ERF), (False, True), (True, False)
    )
)


def named(value: Any) -> str:
    if isinstance(value, surrogate.SurrogateFunctionBase):
        return f"{type(value).__name__}{value.alpha:g}"
    return str(value)


def made(
    device: str, kind: str, v_reset: float | None, detached: bool, shape: Any, last: bool, static: bool
) -> tuple[nn.Module, Tensor]:
    """A network of two layers of such neurons, and its input."""
    torch.manual_seed(0)
    how: dict[str, Any] = {"v_reset": v_reset, "detach_reset": detached, "surrogate_function": shape}
    first, second = (NEURONS[kind](v_threshold=0.5, **how) for _ in range(2))
    body = [nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), first, nn.AvgPool2d(2)]
    body += [nn.Conv2d(4, 4, 2, bias=False), nn.BatchNorm2d(4), second]
    net = nn.Sequential(*body, nn.Flatten(), nn.Linear(16, 5)).to(device)
    x = torch.randn(3, 6, 2, 8, 8, device=device)
    if last:
        net = net.to(memory_format=torch.channels_last)
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (3, 6))
    return net, x[0].expand(x.shape) if static else x


def both_ways(net: nn.Module, x: Tensor) -> tuple[Any, Any]:
    """A step on plain kernels and one on compiled ones."""
    state = {k: v.clone() for k, v in net.state_dict().items()}
    plain = step(net, x, kernels="plain")
    net.load_state_dict(state)
    compiled.ran.clear()
    return plain, step(net, x, kernels="compiled")


def agree(plain: Any, fused: Any) -> None:
    """To 1e-5 of the largest number in each tensor."""
    pairs = {"output": (plain[0], fused[0])} | {k: (plain[1][k], fused[1][k]) for k in plain[1]}
    for name, (one, other) in pairs.items():
        assert float((one - other).abs().max()) <= 1e-5 * max(float(one.abs().max()), 1e-3), name


def check(device: str, kind: tuple) -> None:
    net, x = made(device, *kind)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*kernels? .*")
        plain, fused = both_ways(net, x)
    agree(plain, fused)
    assert float(plain[1]["0.weight"].abs().max()) > 0
    assert compiled.what_ran() == ("plain" if kind[3] is ERF else "compiled")
    assert not compiled._broken


@pytest.mark.slow
@pytest.mark.xdist_group("compiler")  # each process takes ten seconds more for the first
@pytest.mark.parametrize("kind", DOZEN, ids=lambda kind: "-".join(map(named, kind)))
def test_a_dozen_kinds_give_the_plain_numbers(kind: tuple) -> None:
    check("cpu", kind)


def test_a_surrogate_without_a_formula_runs_on_plain_kernels() -> None:
    check("cpu", ("lif", None, True, ERF, False, False))


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: "-".join(map(named, kind)))
def test_every_kind_gives_the_plain_numbers_on_a_gpu(kind: tuple) -> None:
    check("cuda", kind)
