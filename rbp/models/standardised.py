"""Scaled weight standardisation (Brock et al., ICLR 2021), OTTT's alternative to batch normalisation.

    W_ij = gamma * g_i * (V_ij - mean_i) / (std_i * sqrt(N))

for each output channel i, over its N incoming weights, with a learnt gain g_i. Nothing depends on the batch
or on time. gamma keeps the size of the signals through the neurons that follow: 2.74 for spiking neurons
(Xiao et al., NeurIPS 2022).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

SPIKING = 2.74  # gamma where spiking neurons follow


class Standardised(nn.Module):
    """The standardised weights of a layer, computed from its own.

    Args:
        channels: Number of output channels.
        gamma: Factor for the neurons that follow.
        gain: Whether each output channel has a learnt gain.
        eps: Smallest N * variance.
    """

    def __init__(self, channels: int, gamma: float, gain: bool, eps: float) -> None:
        super().__init__()
        self.gamma, self.eps = gamma, eps
        self.gain = nn.Parameter(torch.ones(channels)) if gain else None

    def forward(self, weight: Tensor) -> Tensor:
        """Return the standardised weights of weights [C, ...]."""
        rows = weight.flatten(1)
        variance, mean = torch.var_mean(rows, 1, correction=0, keepdim=True)
        rows = (rows - mean) * (self.gamma * (variance * rows.shape[1]).clamp(min=self.eps).rsqrt())
        if self.gain is not None:
            rows = rows * self.gain.unsqueeze(1)
        return rows.view_as(weight)


def standardised(layer: nn.Module, *, gamma: float = 1.0, gain: bool = True, eps: float = 1e-4) -> nn.Module:
    """Let a convolution or linear layer compute with standardised weights, and return it.

    Args:
        layer: The layer.
        gamma, gain, eps: See `Standardised`.
    """
    weight: Any = layer.weight
    parametrize.register_parametrization(layer, "weight", Standardised(len(weight), gamma, gain, eps))
    return layer


class ScaledWSConv2d(nn.Conv2d):
    """nn.Conv2d with scaled weight standardisation; takes its arguments, and those of `Standardised`."""

    def __init__(
        self, *args: Any, gamma: float = 1.0, gain: bool = True, eps: float = 1e-4, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        standardised(self, gamma=gamma, gain=gain, eps=eps)


class ScaledWSLinear(nn.Linear):
    """nn.Linear with scaled weight standardisation; takes its arguments, and those of `Standardised`."""

    def __init__(
        self, *args: Any, gamma: float = 1.0, gain: bool = True, eps: float = 1e-4, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        standardised(self, gamma=gamma, gain=gain, eps=eps)


def conv_norm(norm: str, c_in: int, c_out: int) -> list[nn.Module]:
    """Return a 3 x 3 convolution that keeps the size of the maps, normalised as `arch.norm` says.

    Args:
        norm: "batch": batch normalisation behind it. "weight": scaled weight standardisation.
        c_in: Input channels.
        c_out: Output channels.
    """
    if norm == "weight":
        return [ScaledWSConv2d(c_in, c_out, 3, padding=1, gamma=SPIKING)]
    return [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out)]
