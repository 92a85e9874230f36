"""The digits' file in the scikit-learn package, read without importing scikit-learn.

The import takes about as long as that of torch, in every process of a sweep.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GREYS = 16  # largest pixel value
SIDE = 8


def read_digits() -> tuple[Tensor, Tensor]:
    """Return the images, float64 [1797, 8, 8] with whole greys from 0 to 16, and the digits, int64 [1797]."""
    table = _table()
    if table is None:  # scikit-learn keeps the file elsewhere now
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return torch.from_numpy(bunch.images), torch.from_numpy(bunch.target).long()
    values = torch.from_numpy(table)
    return values[:, :-1].reshape(-1, SIDE, SIDE), values[:, -1].long()


def _table() -> np.ndarray | None:
    """Return a row of 64 greys and the digit for each image, [1797, 65], or None if the file is not there."""
    package = find_spec("sklearn")
    for folder in (package.submodule_search_locations or []) if package else []:
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    return None
