"""Models of the zoo that take all time steps, [T, B, C, H, W]: MS-ResNet and the transformers."""

from collections.abc import Callable
from typing import Any

from torch import nn

# All builders are called alike, and so take `size` and `T`, though only some of the zoo's classes need them.
Zoo = Callable[..., nn.Module]


def sequence(
    zoo: Zoo,
    neuron: Callable[..., nn.Module],
    in_channels: int,
    classes: int,
    size: int,
    T: int,
    **settings: Any,
) -> nn.Module:
    """Build a model whose class takes channels and T; arguments: see `rbp.models.zoo.network`."""
    return zoo(T=T, in_channels=in_channels, num_classes=classes, spiking_neuron=neuron, **settings)


def spikformer(zoo: Zoo, neuron: Callable[..., nn.Module], *, size: int, **more: Any) -> nn.Module:
    """Build a Spikformer, whose class takes the size of the images as well."""
    return sequence(zoo, neuron, size=size, img_size_h=size, img_size_w=size, **more)


def ms_resnet(zoo: Zoo, neuron: Callable[..., nn.Module], *, images: str, **more: Any) -> nn.Module:
    """Build an MS-ResNet; for small images it begins with a convolution of 3 x 3 and stride 1."""
    stem = {"stem_kernel_size": 3, "stem_stride": 1} if images == "small" else {}
    return sequence(zoo, neuron, **stem, **more)
