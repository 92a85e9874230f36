"""The paper's ResNets for ImageNet (arXiv 2410.11488): SEW and PreAct ResNet-34.

Convolutions have biases; their weights are Kaiming's, by fan-out. Where a block changes the shape, its
shortcut is a 1 x 1 convolution and bn, in SEW with neurons behind them.
"""

from collections.abc import Callable

from torch import Tensor, nn

Neuron = Callable[[], nn.Module]
Block = Callable[[Neuron, int, int, int], nn.Module]  # neuron, channels in and out, stride

_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # blocks, width, stride of the first block


class _Residual(nn.Module):
    """The sum of a branch and a shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.branch(x) + self.shortcut(x)
        return out


def sew_resnet34(neuron: Neuron, in_channels: int, classes: int) -> nn.Module:
    """Build SEW ResNet-34: [B, C, H, W] -> [B, classes].

    conv 7 x 7 of stride 2, bn, neuron, max pool 3 of stride 2, stages of 3, 4, 6, 3 blocks with widths 64,
    128, 256, 512, global average pool, linear. A block is (conv, bn, neuron) twice, + shortcut.
    """
    return _resnet34(neuron, in_channels, classes, _sew_block, [neuron()])


def preact_resnet34(neuron: Neuron, in_channels: int, classes: int) -> nn.Module:
    """Build PreAct ResNet-34: [B, C, H, W] -> [B, classes].

    As `sew_resnet34`, but with no neurons in the stem, and blocks of (neuron, conv, bn) twice, + shortcut.
    """
    return _resnet34(neuron, in_channels, classes, _preact_block, [])


def _resnet34(
    neuron: Neuron, in_channels: int, classes: int, block: Block, after_norm: list[nn.Module]
) -> nn.Module:
    """Build a ResNet-34 of these blocks; `after_norm`: what stands between the stem's bn and its pool."""
    layers = [nn.Conv2d(in_channels, 64, 7, 2, padding=3), nn.BatchNorm2d(64), *after_norm]
    layers.append(nn.MaxPool2d(3, 2, padding=1))
    c_in = 64
    for blocks, width, stride in _STAGES:
        layers.append(block(neuron, c_in, width, stride))
        layers += [block(neuron, width, width, 1) for _ in range(blocks - 1)]
        c_in = width
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def _sew_block(neuron: Neuron, c_in: int, c_out: int, stride: int) -> nn.Module:
    first = [*_conv_bn(c_in, c_out, 3, stride), neuron()]
    branch = nn.Sequential(*first, *_conv_bn(c_out, c_out, 3), neuron())
    if stride == 1:
        return _Residual(branch, nn.Identity())
    return _Residual(branch, nn.Sequential(*_conv_bn(c_in, c_out, 1, stride), neuron()))


def _preact_block(neuron: Neuron, c_in: int, c_out: int, stride: int) -> nn.Module:
    first = [neuron(), *_conv_bn(c_in, c_out, 3, stride)]
    branch = nn.Sequential(*first, neuron(), *_conv_bn(c_out, c_out, 3))
    if stride == 1:
        return _Residual(branch, nn.Identity())
    return _Residual(branch, nn.Sequential(*_conv_bn(c_in, c_out, 1, stride)))


def _conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2), nn.BatchNorm2d(c_out)]
