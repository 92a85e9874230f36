"""A network that does something under test with the spikes of a step, and an input for it."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from tests.support.networks import lif

Change = Callable[[Any, Tensor], Tensor]  # the network and its spikes [B, 8] -> [B, 8]


class Changed(nn.Module):
    """Linear, spiking, what is under test, spiking, linear; a layer b that only that may use."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.l1, self.l2, self.change = lif(v_threshold=0.3), lif(v_threshold=0.3), change

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.l2(self.change(self, self.l1(self.a(x)))))

    @classmethod
    def made(cls, change: Change) -> Self:
        """The same weights every time, in float64."""
        torch.manual_seed(0)
        return cls(change).double()


def inputs(T: int = 4, B: int = 5) -> Tensor:
    """An input on which the neurons of a `Changed` fire, [T, B, 6]."""
    return torch.rand(T, B, 6, generator=torch.Generator().manual_seed(1)).double() * 3
