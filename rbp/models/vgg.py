"""The paper's VGGs (arXiv 2410.11488): convolutions, average pools (A), one linear layer.

Initial weights are PyTorch's ("default") or those of the published code ("published"): normal with standard
deviation 0.5, biases 0. Under batch normalisation the scale of a weight does not change the function, but
divides the effective learning rate by its square. "published" therefore starts hundreds of times slower; use
it for comparison only.
"""

from collections.abc import Callable, Sequence

from torch import nn

Neuron = Callable[[], nn.Module]
Plan = Sequence[int | str]  # a width stands for conv 3x3, bn, neuron; "A" for average pool 2


def vgg11(neuron: Neuron, in_channels: int, classes: int, init: str = "default") -> nn.Module:
    """Build: 64 A 128 256 A 512 512 A 512 A 512 512, global average, linear: [B, C, H, W] -> [B, classes]."""
    plan = (64, "A", 128, 256, "A", 512, 512, "A", 512, "A", 512, 512)
    return _vgg(neuron, in_channels, classes, init, plan, last=1)


def vgg13(neuron: Neuron, in_channels: int, classes: int, init: str = "default") -> nn.Module:
    """Build: 64 64 A 128 128 A 256 256 A 512 512 512 A 512, global average, linear."""
    plan = (64, 64, "A", 128, 128, "A", 256, 256, "A", 512, 512, 512, "A", 512)
    return _vgg(neuron, in_channels, classes, init, plan, last=1)


def vggsnn_cifar(neuron: Neuron, in_channels: int, classes: int, init: str = "default") -> nn.Module:
    """Build: 64 128 A 256 256 A 512 512 A 512 512, adaptive average pool to 3 x 3, linear."""
    plan = (64, 128, "A", 256, 256, "A", 512, 512, "A", 512, 512)
    return _vgg(neuron, in_channels, classes, init, plan, last=3)


def vggsnn_dvs(neuron: Neuron, in_channels: int, classes: int, size: int, init: str = "default") -> nn.Module:
    """Build: 64 128 A 256 256 A 512 512 A 512 512 A, linear.

    Args:
        neuron: Makes one layer of neurons.
        in_channels: Channels of the frames.
        classes: Number of classes.
        size: Side of the frames in pixels; 48 gives the linear layer 512 x 3 x 3 inputs.
        init: "default" or "published", see the module.
    """
    plan = (64, 128, "A", 256, 256, "A", 512, 512, "A", 512, 512, "A")
    return _vgg(neuron, in_channels, classes, init, plan, last=size // 16, pool=False)


def _vgg(
    neuron: Neuron, in_channels: int, classes: int, init: str, plan: Plan, last: int, pool: bool = True
) -> nn.Module:
    """Build a VGG.

    Args:
        neuron: Makes one layer of neurons.
        in_channels: Channels of the images.
        classes: Number of classes.
        init: "default" or "published", see the module.
        plan: The layers before the linear one.
        last: Side of the feature maps that the linear layer receives.
        pool: Whether to average the maps to that side; otherwise they must already have it.
    """
    layers: list[nn.Module] = []
    channels = in_channels
    for item in plan:
        if isinstance(item, str):
            layers.append(nn.AvgPool2d(2))
            continue
        layers += [nn.Conv2d(channels, item, 3, padding=1), nn.BatchNorm2d(item), neuron()]
        channels = item
    if pool:
        layers.append(nn.AdaptiveAvgPool2d(last))
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * last**2, classes))
    if init == "published":
        net.apply(_published_weights)
    return net


def _published_weights(module: nn.Module) -> None:
    """Initialise a layer as the published code does."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.5)
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
