"""The networks of the golden files, and a network with a single hidden layer."""

from collections.abc import Callable

from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn


def lif() -> nn.Module:
    """Build the paper's neuron: leak 0.2, soft reset, detached reset."""
    sigmoid = surrogate.Sigmoid(alpha=4.0)
    return neuron.LIFNode(
        tau=1.25, decay_input=False, v_reset=None, detach_reset=True, surrogate_function=sigmoid
    )


class Residual(nn.Module):
    """A basic residual block: [B, c_in, H, W] -> [B, c_out, H/stride, W/stride]."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1, self.lif1 = nn.BatchNorm2d(c_out), lif()
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2, self.lif2 = nn.BatchNorm2d(c_out), lif()
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.lif1(self.bn1(self.conv1(x)))))
        return self.lif2(out + self.shortcut(x))


class Net(nn.Module):
    """A sequence of layers, whose parameters are named body.N as in the golden files."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def plain() -> Net:
    """Build two convolutions and a linear layer: [B, 3, 8, 8] -> [B, 5]."""
    first = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), lif(), nn.AvgPool2d(2)]
    second = [nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), lif(), nn.AvgPool2d(2)]
    return Net(*first, *second, nn.Flatten(), nn.Linear(64, 5))


def residual() -> Net:
    """Build a stem, two residual blocks and two linear layers: [B, 3, 8, 8] -> [B, 5]."""
    stem = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), lif()]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 12), lif(), nn.Linear(12, 5)]
    return Net(*stem, Residual(8, 8, 1), Residual(8, 16, 2), *end)


def one_hidden_layer() -> Net:
    """Build one layer of neurons, for which rate mode is exact on a static image: [B, 3, 8, 8] -> [B, 5]."""
    return Net(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), lif(), nn.Flatten(), nn.Linear(512, 5))


NETS: dict[str, Callable[[], Net]] = {"plain": plain, "residual": residual}
