"""Whole networks in bfloat16 or float16 (`net.to(torch.bfloat16)`), not autocast: they train in rate mode,
with gradients near those of the same weights in float32.

In deep bfloat16 networks currents are rounded by up to 2^-9, and spikes near the threshold flip: there BPTT's
gradients are as far from float32's. So the distances here are those of one spiking layer, with a layer before
and one after it; measured over three seeds, of all gradients as one vector: up to 10 % in bfloat16 and 5 % in
float16, with BPTT up to 10 and 4 %.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer as sj
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

import rbp
from tests.support.networks import gradients_of, lif

LOW = {torch.bfloat16: 0.15, torch.float16: 0.07}


def deep() -> nn.Module:
    body = [nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), neuron.LIFNode(), nn.MaxPool2d(2)]
    body += [nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), neuron.ParametricLIFNode(), nn.AvgPool2d(2)]
    body += [nn.Flatten(), nn.Dropout(0.1), nn.Linear(32, 32), nn.LayerNorm(32), neuron.KLIFNode()]
    return nn.Sequential(*body, nn.Linear(32, 16), nn.BatchNorm1d(16), neuron.IFNode(), nn.Linear(16, 3))


BEFORE: dict[str, Callable[[], nn.Module]] = {
    "nothing": nn.Identity,
    "batch norm": lambda: nn.BatchNorm2d(8),
    "batch norm, no affine": lambda: nn.BatchNorm2d(8, affine=False),
    "batch norm in eval": lambda: nn.BatchNorm2d(8).eval(),
    "sync batch norm": lambda: nn.SyncBatchNorm(8),
    "group norm": lambda: nn.GroupNorm(2, 8),
    "layer norm": lambda: nn.LayerNorm(8),
}
AFTER: dict[str, Callable[[], nn.Module]] = {
    "max pool": lambda: nn.MaxPool2d(2),
    "max pool 3d": lambda: nn.Sequential(nn.Unflatten(1, (4, 2)), nn.MaxPool3d((1, 3, 3), (1, 2, 2))),
    "adaptive max pool": lambda: nn.AdaptiveMaxPool2d(3),
    "average pool": lambda: nn.AvgPool2d(2),
    "conv and batch norm": lambda: nn.Sequential(nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4)),
    "group norm": lambda: nn.GroupNorm(4, 8),
}


def one_spiking_layer(before: str, after: str, node: nn.Module | None = None) -> nn.Module:
    first = nn.Conv2d(2, 8, 3, padding=1)
    body = [first, BEFORE[before](), node or lif(v_threshold=0.4), AFTER[after]()]
    with torch.no_grad():
        first.weight.mul_(3.0)
        features = (
            nn.Sequential(*body[:2], nn.Identity(), body[3])(torch.rand(2, 2, 8, 8)).flatten(1).shape[1]
        )
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(features, 5))


def gradients(net: nn.Module, x: Tensor, **how: Any) -> tuple[Tensor, dict[str, Tensor]]:
    y = rbp.forward(net, x, **how)
    F.cross_entropy(y.float(), torch.arange(len(y)) % 5).backward()
    return y.detach().float(), {k: grad.float() for k, grad in gradients_of(net).items()}


def apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """All gradients as one vector: its distance, as a share."""
    a, b = (torch.cat([g[k].flatten() for k in expected]) for g in (found, expected))
    return float((a - b).norm() / b.norm())


def from_float32(net: nn.Module, x: Tensor, dtype: torch.dtype, **how: Any) -> float:
    """Of the gradients in dtype from those in float32, for the same weights and the same input."""
    low = copy.deepcopy(net).to(dtype)
    wide = copy.deepcopy(low).float()
    (y, found), (z, expected) = (
        gradients(low, x.to(dtype), **how),
        gradients(wide, x.to(dtype).float(), **how),
    )
    assert (y - z).norm() < 0.1 * z.norm()
    return apart(found, expected)


def from_bptt(net: nn.Module, x: Tensor, dtype: torch.dtype, **how: Any) -> float:
    """Of the gradients by rate from those by BPTT, both in dtype."""
    rate, bptt = (copy.deepcopy(net).to(dtype) for _ in range(2))
    (y, found), (z, expected) = (
        gradients(n, x.to(dtype), grad_mode=mode, **how) for n, mode in ((rate, "rate"), (bptt, "bptt"))
    )
    assert (y - z).norm() < 0.1 * z.norm()
    return apart(found, expected)


CASES = [*((name, "max pool") for name in BEFORE), *(("batch norm", name) for name in AFTER)]


@pytest.mark.parametrize("how", [{"step_mode": "m"}, {"step_mode": "s"}, {"chunk": 2}], ids=str)
@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("before, after", CASES)
def test_gradients_are_near_float32s(
    before: str, after: str, dtype: torch.dtype, how: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    net = one_spiking_layer(before, after)
    x = torch.randn(4, 8, 2, 8, 8)
    assert from_float32(net, x, dtype, **how) < LOW[dtype]


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("before, after", CASES)
def test_at_one_step_rate_is_bptt_in_float16(before: str, after: str, step_mode: str) -> None:
    """No spike flips between the two: 0.06 % are the gradients' own rounding."""
    torch.manual_seed(0)
    net = one_spiking_layer(before, after)
    assert from_bptt(net, torch.randn(1, 8, 2, 8, 8), torch.float16, step_mode=step_mode) < 0.002


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize(
    "node", [neuron.IFNode, neuron.ParametricLIFNode, neuron.KLIFNode, neuron.SimpleLIFNode]
)
def test_so_they_are_with_any_kind_of_neuron(node: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    made = node(tau=2.0, decay_input=False) if node is neuron.SimpleLIFNode else node()
    torch.manual_seed(0)
    net = one_spiking_layer("batch norm", "max pool", made)
    assert from_float32(net, torch.randn(4, 8, 2, 8, 8), dtype) < LOW[dtype]


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("dtype", LOW, ids=str)
def test_a_deep_network_learns(dtype: torch.dtype, step_mode: str) -> None:
    torch.manual_seed(0)
    net = deep().to(dtype)
    x, labels, losses = torch.randn(4, 12, 2, 8, 8).to(dtype), torch.arange(12) % 3, []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(25):
        optimizer.zero_grad()
        y = rbp.forward(net, x, step_mode=step_mode)
        assert y.dtype == dtype
        loss = F.cross_entropy(y.float(), labels)
        loss.backward()
        assert all(grad.dtype == dtype and grad.isfinite().all() for grad in gradients_of(net).values())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(b.dtype in (dtype, torch.int64) for b in net.buffers())


def test_spikingjellys_wrappers_too() -> None:
    def make() -> nn.Module:
        body = [sj.Conv2d(2, 8, 3, padding=1), sj.BatchNorm2d(8), lif(v_threshold=0.4), sj.MaxPool2d(2)]
        return nn.Sequential(*body, sj.GroupNorm(2, 8), sj.Flatten(), sj.Linear(128, 5))

    torch.manual_seed(0)
    net, x = make(), torch.randn(4, 8, 2, 8, 8)
    for dtype, most in LOW.items():
        assert from_float32(net, x, dtype) < most
