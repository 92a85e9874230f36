"""A small network for small images."""

from collections.abc import Callable

from torch import nn

from rbp.models.standardised import conv_norm


def digits_cnn(
    neuron: Callable[[], nn.Module], in_channels: int, classes: int, norm: str = "batch"
) -> nn.Module:
    """Build: conv 32, conv 64, pool, conv 128, global average, linear: [B, C, H, W] -> [B, classes].

    Each convolution is 3 x 3, with batch normalisation, and followed by a layer of neurons; the
    pool averages over 2 x 2.

    Args:
        neuron: Makes one layer of neurons.
        in_channels: Channels of the images.
        classes: Number of classes.
        norm: "batch", or "weight" for scaled weight standardisation in place of batch normalisation.
    """

    def conv(c_in: int, c_out: int) -> list[nn.Module]:
        return [*conv_norm(norm, c_in, c_out), neuron()]

    return nn.Sequential(
        *conv(in_channels, 32),
        *conv(32, 64),
        nn.AvgPool2d(2),
        *conv(64, 128),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, classes),
    )
