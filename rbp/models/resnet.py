"""The paper's ResNets for 32 x 32 images (arXiv 2410.11488), with PyTorch's default initial weights."""

from collections.abc import Callable

from torch import Tensor, nn

Neuron = Callable[[], nn.Module]


class BasicBlock(nn.Module):
    """A residual block: conv, bn, neuron, conv, bn, + shortcut, neuron.

    The shortcut is a 1 x 1 convolution and bn where the shape changes, the identity elsewhere.
    """

    def __init__(self, neuron: Neuron, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.neuron1 = neuron()
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )
        self.neuron2 = neuron()

    def forward(self, x: Tensor) -> Tensor:
        out = self.neuron1(self.bn1(self.conv1(x)))
        return self.neuron2(self.bn2(self.conv2(out)) + self.shortcut(x))


def _trunk(
    neuron: Neuron, in_channels: int, first: int, stages: list[tuple[int, int, int]]
) -> list[nn.Module]:
    """Return the layers before the head: conv, bn, neuron, the stages, global average pool, flatten.

    Args:
        neuron: Makes one layer of neurons.
        in_channels: Channels of the images.
        first: Width of the first convolution.
        stages: (number of blocks, width, stride of the first block) of each stage.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, first, 3, padding=1, bias=False),
        nn.BatchNorm2d(first),
        neuron(),
    ]
    c_in = first
    for blocks, width, stride in stages:
        layers.append(BasicBlock(neuron, c_in, width, stride))
        layers += [BasicBlock(neuron, width, width, 1) for _ in range(blocks - 1)]
        c_in = width
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def resnet18(neuron: Neuron, in_channels: int, classes: int) -> nn.Module:
    """Build ResNet-18: [B, C, H, W] -> [B, classes].

    conv 64, four stages of two blocks each with widths 64, 128, 256, 512, linear.
    """
    stages = [(2, 64, 1), (2, 128, 2), (2, 256, 2), (2, 512, 2)]
    return nn.Sequential(*_trunk(neuron, in_channels, 64, stages), nn.Linear(512, classes))


def resnet19(neuron: Neuron, in_channels: int, classes: int) -> nn.Module:
    """Build ResNet-19: [B, C, H, W] -> [B, classes].

    conv 128, stages of 3, 3, 2 blocks with widths 128, 256, 512, linear 256, neuron, linear.
    """
    stages = [(3, 128, 1), (3, 256, 2), (2, 512, 2)]
    head = [nn.Linear(512, 256), neuron(), nn.Linear(256, classes)]
    return nn.Sequential(*_trunk(neuron, in_channels, 128, stages), *head)
