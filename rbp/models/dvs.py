"""A small network for small frames of events."""

from collections.abc import Callable

from torch import nn

from rbp.models.standardised import conv_norm


def dvs_cnn(
    neuron: Callable[[], nn.Module], in_channels: int, classes: int, norm: str = "batch"
) -> nn.Module:
    """Build: conv 16, pool, conv 32, pool, conv 64, global average, linear: [B, C, H, W] -> [B, classes].

    Each convolution is 3 x 3, with batch normalisation, and followed by a layer of neurons; pools
    are averages over 2 x 2.

    Args:
        neuron: Makes one layer of neurons.
        in_channels: Channels of the images.
        classes: Number of classes.
        norm: "batch", or "weight" for scaled weight standardisation in place of batch normalisation.
    """

    def conv(c_in: int, c_out: int) -> list[nn.Module]:
        return [*conv_norm(norm, c_in, c_out), neuron()]

    return nn.Sequential(
        *conv(in_channels, 16),
        nn.AvgPool2d(2),
        *conv(16, 32),
        nn.AvgPool2d(2),
        *conv(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )
