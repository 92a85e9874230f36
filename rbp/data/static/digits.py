"""Scikit-learn's handwritten digits: in the package, so that a first run needs neither files nor network."""

import torch
from sklearn.datasets import load_digits

from rbp.data.holdout import hold_out
from rbp.data.images import Images
from rbp.seeds import stream

_N_TEST = 360
_GREYS = 16  # pixels go from 0 to this


def digits(root: str, download: bool) -> tuple[Images, Images]:
    """1,437 training and 360 test images, uint8 [N, 1, 8, 8]; neither argument is used, nothing is fetched.

    The data set has no split of its own: the test images are the same in every run, drawn evenly by class.
    """
    bunch = load_digits()
    pixels = torch.from_numpy(bunch.images)[:, None].mul(255 / _GREYS).round().to(torch.uint8)
    return hold_out(Images(pixels, torch.from_numpy(bunch.target).long()), _N_TEST, stream(0, "digits"))
