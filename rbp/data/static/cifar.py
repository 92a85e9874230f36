"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), read from their Python version: pickled batches of images.

torchvision's classes require files with the original checksums; these readers also accept smaller sets in the
same format. Downloads are still checked by torchvision against the original checksums.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets

from rbp.data.files import Source, broken, locate
from rbp.data.images import Images
from rbp.data.static.unpickle import unpickle

_SHAPE = (3, 32, 32)
_BY_HAND = "unpack there the archive {} from https://www.cs.toronto.edu/~kriz/cifar.html"

_CIFAR10 = Source(
    name="CIFAR-10",
    folders=("cifar-10-batches-py", ""),
    files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
    suffixes=("",),
    fetch=lambda root: datasets.CIFAR10(root, download=True),
    by_hand=_BY_HAND.format("cifar-10-python.tar.gz"),
)
_CIFAR100 = Source(
    name="CIFAR-100",
    folders=("cifar-100-python", ""),
    files=("train", "test"),
    suffixes=("",),
    fetch=lambda root: datasets.CIFAR100(root, download=True),
    by_hand=_BY_HAND.format("cifar-100-python.tar.gz"),
)


def cifar10(root: str, download: bool) -> tuple[Images, Images]:
    """Return (train, test) of CIFAR-10: uint8 [N, 3, 32, 32] with labels from 0 to 9.

    The published set has 50,000 training and 10,000 test images; smaller sets are accepted.
    """
    *train, test = locate(_CIFAR10, root, download)
    return _read_batches(train, "labels", 10), _read_batches([test], "labels", 10)


def cifar100(root: str, download: bool) -> tuple[Images, Images]:
    """Return (train, test) of CIFAR-100: uint8 [N, 3, 32, 32] with the 100 fine labels.

    The published set has 50,000 training and 10,000 test images; smaller sets are accepted.
    """
    train, test = locate(_CIFAR100, root, download)
    return _read_batches([train], "fine_labels", 100), _read_batches([test], "fine_labels", 100)


def _read_batches(paths: list[Path], label_key: str, n_classes: int) -> Images:
    pixels, labels = [], []
    for path in paths:
        batch = unpickle(path)
        if missing := [key for key in ("data", label_key) if key not in batch]:
            raise broken(path, f"lacks {', '.join(missing)}; has {', '.join(map(repr, batch))}")
        pixels.append(_check_pixels(path, batch["data"]))
        labels += _check_labels(path, batch[label_key], len(pixels[-1]), n_classes)
    return Images(torch.from_numpy(np.concatenate(pixels)).view(-1, *_SHAPE), torch.tensor(labels))


def _check_pixels(path: Path, data: Any) -> np.ndarray:
    """Return the data of a batch, uint8 [N, 3072]: an image's red, green and blue plane, each row by row."""
    n_values = math.prod(_SHAPE)
    if not isinstance(data, np.ndarray):
        raise broken(path, f"data is a {type(data).__name__}; must be an array of bytes [N, {n_values}]")
    if data.shape[1:] != (n_values,):
        raise broken(path, f"data is {list(data.shape)}; must be [N, {n_values}]")
    if len(data) == 0:
        raise broken(path, "holds no images")
    return data


def _check_labels(path: Path, labels: Any, n_images: int, n_classes: int) -> list[int]:
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise broken(path, "labels must be a list of whole numbers")
    if len(labels) != n_images:
        raise broken(path, f"has {len(labels)} labels for {n_images} images")
    if wrong := [label for label in labels if not 0 <= label < n_classes]:
        raise broken(path, f"has a label {wrong[0]}; labels go from 0 to {n_classes - 1}")
    return labels
