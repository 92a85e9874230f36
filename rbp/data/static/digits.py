"""Scikit-learn's handwritten digits, which come with the package: a first run needs no files or network."""

import torch

from rbp.data.holdout import hold_out
from rbp.data.images import Images
from rbp.data.static.sklearn_digits import GREYS, read_digits
from rbp.seeds import stream

_N_TEST = 360


def digits(root: str, download: bool) -> tuple[Images, Images]:
    """Return 1,437 training and 360 test images, uint8 [N, 1, 8, 8].

    The data set has no official split, so the test images are drawn, stratified by class and the same in
    every run. Neither argument is used: nothing is downloaded.
    """
    images, labels = read_digits()
    pixels = images[:, None].mul(255 / GREYS).round().to(torch.uint8)
    return hold_out(Images(pixels, labels), _N_TEST, stream(0, "digits"))
