"""Models of the zoo made of SpikingJelly's layer wrappers: ResNet, SEW ResNet and VGG.

The zoo has them for three channels and ImageNet's size. Here the first convolution gets the channels of the
images, with the zoo's initial weights. `images="small"` keeps more of small images: a ResNet begins with
a convolution of 3 x 3 and stride 1, in place of 7 x 7 with stride 2 and a max pool; a VGG's linear layers see
maps of 1 x 1 in place of 7 x 7.
"""

from collections.abc import Callable
from typing import Any

from spikingjelly.activation_based import layer
from torch import nn

# All builders are called alike, and so take `size` and `T`, though only some of the zoo's classes need them.
Zoo = Callable[..., Any]


def resnet(
    zoo: Zoo,
    neuron: Callable[..., nn.Module],
    in_channels: int,
    classes: int,
    size: int,
    T: int,
    images: str,
    **settings: Any,
) -> nn.Module:
    """Build a ResNet or SEW ResNet by the zoo's function; arguments: see `rbp.models.zoo.network`."""
    net = zoo(spiking_neuron=neuron, num_classes=classes, **settings)
    width = net.conv1.out_channels
    if images == "small":
        net.conv1 = _convolution(in_channels, width, 3, padding=1, bias=False)
        net.maxpool = nn.Identity()
    elif in_channels != 3:
        net.conv1 = _convolution(in_channels, width, 7, stride=2, padding=3, bias=False)
    return net


def vgg(
    zoo: Zoo,
    neuron: Callable[..., nn.Module],
    in_channels: int,
    classes: int,
    size: int,
    T: int,
    images: str,
) -> nn.Module:
    """Build a VGG by the zoo's function; arguments: see `rbp.models.zoo.network`."""
    net = zoo(spiking_neuron=neuron, num_classes=classes)
    if in_channels != 3:
        net.features[0] = _convolution(in_channels, net.features[0].out_channels, 3, padding=1)
    if images == "small":
        net.avgpool = layer.AdaptiveAvgPool2d((1, 1))
        net.classifier[0] = layer.Linear(512, 4096)
        nn.init.normal_(net.classifier[0].weight, 0, 0.01)
        nn.init.zeros_(net.classifier[0].bias)
    return net


def _convolution(c_in: int, c_out: int, kernel: int, **more: Any) -> nn.Module:
    """Make a convolution with the zoo's initial weights, Kaiming's by fan-out and no bias at first."""
    made: Any = layer.Conv2d(c_in, c_out, kernel, **more)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made
