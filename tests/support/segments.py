"""Networks with neurons of every kind, for the dial between rate mode (one segment of time) and BPTT (as many
as steps), and the projection of gradients that the segments make.
"""

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

import rbp

SURROGATE: dict[str, Any] = {"v_threshold": 0.4, "surrogate_function": surrogate.Sigmoid(2.0)}


class PlainNeuron(nn.Module):
    """Two memories, a learnt leak per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.linspace(-1, 1, 4).view(4, 1, 1))
        self.current: Any = 0.0
        self.v: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.current = self.current * 0.5 + x
        self.v = self.v * self.leak.sigmoid() + self.current
        s = surrogate.sigmoid.apply(self.v - 0.4, 2.0)
        self.v = self.v - 0.4 * s
        return s


rbp.rate.register(rbp.rate.ElementwiseNeuron(), PlainNeuron)


def lif(**settings: Any) -> nn.Module:
    """A neuron that leaks half of its potential a step and has a soft reset, with changes."""
    return neuron.LIFNode(**({"tau": 2.0, "decay_input": False, "v_reset": None} | SURROGATE | settings))


def learnt_threshold() -> nn.Module:
    node = lif()
    node.v_threshold = nn.Parameter(torch.tensor(0.4))
    return node


NEURONS: dict[str, Callable[[], nn.Module]] = {
    "soft": lif,
    "soft, detached": lambda: lif(detach_reset=True),
    "hard": lambda: lif(v_reset=0.0),
    "hard, detached": lambda: lif(v_reset=0.0, detach_reset=True),
    "reset not to 0": lambda: lif(v_reset=0.1),
    "decayed input": lambda: lif(decay_input=True),
    "IF": lambda: neuron.IFNode(v_reset=None, **SURROGATE),
    "PLIF": lambda: neuron.ParametricLIFNode(**SURROGATE),
    "PLIF, soft, detached": lambda: neuron.ParametricLIFNode(v_reset=None, detach_reset=True, **SURROGATE),
    "KLIF": lambda: neuron.KLIFNode(**SURROGATE),
    "CUBALIF": lambda: neuron.CUBALIFNode(c_decay=0.5, v_decay=0.5, **SURROGATE),
    "complementary": lambda: neuron.ComplementaryLIFNode(**SURROGATE),
    "learnt threshold": learnt_threshold,
    "plain module": PlainNeuron,
}


class Residual(nn.Module):
    """Layers, and their input added to their output."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def network(make: Callable[[], nn.Module], *more: nn.Module) -> nn.Sequential:
    """Convolutions with batch norm, a residual block and pooling, with neurons that `make` makes, in float64.

    more: layers that keep the size of [B, 4, 3, 3], ahead of the head.
    """
    torch.manual_seed(0)
    stem = (nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), make())
    block = Residual(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), make())
    head = (
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 1),
        make(),
        *more,
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    return nn.Sequential(*stem, block, *head).double()


def frames(T: int) -> Tensor:
    """An input of `network`, [T, 3, 2, 6, 6]."""
    return torch.randn(T, 3, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double() * 2


class Projected(torch.autograd.Function):
    """x_seq, its gradient replaced by the mean over each segment."""

    @staticmethod
    def forward(ctx: Any, x_seq: Tensor, lengths: list[int]) -> Tensor:
        ctx.lengths = lengths
        return x_seq.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return torch.cat([g.mean(0, keepdim=True).expand_as(g) for g in grad.split(ctx.lengths)]), None
