from torch import nn


def small(neuron, in_channels, classes, width):
    """One convolution and a linear layer, for images of 8 x 8."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        neuron(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(width * 4 * 4, classes),
    )
