"""The networks of mylab: each function here is an option of the group arch, by a file in conf/arch/.

rbp calls it as f(neuron, in_channels, classes, **the option's own keys), where neuron() makes one layer of
the spiking neurons that the config chose. The module is written for one time step, [B, C, H, W] ->
[B, classes]: rbp runs it over all T steps, in either step mode.

BPTT trains any such network. Rate mode carries one rate per neuron through it instead of a value per time
step, and asks for more:

- Between layers of neurons are layers that commute with the mean over time, such as convolutions, linear
  layers, average pooling, sums and reshapes, or ones that rbp has a rule for, such as batch normalisation and
  max pooling. Anything else is refused by name, and the message says how to add a rule.
- Neurons alone remember the step before: no counters and no state of one's own.

tests/test_nets.py asks whether a network is fit for it; rbp.rate.verify names the first layer that is not.
"""

from collections.abc import Callable

from torch import Tensor, nn

Neuron = Callable[[], nn.Module]


class Block(nn.Module):
    """Convolution and batch normalisation beside a shortcut; the sum is the input current of the neurons."""

    def __init__(self, neuron: Neuron, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.neuron = neuron()

    def forward(self, spikes: Tensor) -> Tensor:
        """Map spikes [B, C, H, W] to spikes of the same shape."""
        return self.neuron(self.norm(self.conv(spikes)) + spikes)


def mylab_net(neuron: Neuron, in_channels: int, classes: int, width: int) -> nn.Module:
    """Build: conv, block, average pool 2, block, global average, linear: [B, C, H, W] -> [B, classes].

    Args:
        neuron: Makes one layer of neurons.
        in_channels: Channels of an image.
        classes: Number of classes.
        width: Channels of every convolution; arch.width.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        neuron(),
        Block(neuron, width),
        nn.AvgPool2d(2),
        Block(neuron, width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )
