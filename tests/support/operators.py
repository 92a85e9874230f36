"""Operators on spikes that do not commute with the time mean, a network for one of them, and how far from
BPTT's its gradients are by the documentation.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.support.networks import lif


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return a @ b.mT


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = x.flatten(2).chunk(3, 1)
        return v @ k.mT @ q * 0.125


class Einsum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,bcvw->bchv", *x.chunk(2, 1))


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return a * b


class Operated(nn.Module):
    """A convolution, a neuron, the operator, a linear layer; [B, 3, 8, 8] to [B, 5]."""

    def __init__(self, operator: nn.Module) -> None:
        super().__init__()
        self.conv, self.lif, self.operator = nn.Conv2d(3, 24, 3, padding=1), lif(), operator
        with torch.no_grad():
            self.conv.weight.mul_(3.0)
            features = operator(torch.zeros(1, 24, 8, 8)).flatten(1).shape[1]
        self.fc = nn.Linear(features, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.operator(self.lif(self.conv(x))).flatten(1))


# By name: the operator, and the least and the largest distance of the convolution's gradient from BPTT's.
OPERATORS: dict[str, tuple[Callable[[], nn.Module], float, float]] = {
    "nothing": (nn.Identity, 0.0, 1e-5),
    "group norm": (lambda: nn.GroupNorm(4, 24), 0.004, 0.006),
    "layer norm of the whole sample": (lambda: nn.LayerNorm([24, 8, 8]), 0.002, 0.004),
    "layer norm of rows of 8": (lambda: nn.LayerNorm(8), 0.07, 0.1),
    "max pool 3x3": (lambda: nn.MaxPool2d(3, 2, 1), 0.01, 0.02),
    "max pool 2x2": (lambda: nn.MaxPool2d(2), 0.01, 0.02),
    "product": (Product, 0.007, 0.011),
    "product by einsum": (Einsum, 0.007, 0.011),
    "attention": (Attention, 0.012, 0.02),
    "gate": (Gate, 0.005, 0.05),
}
