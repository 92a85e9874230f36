"""Fashion-MNIST (Xiao et al. 2017), read from its idx files, gzipped or not."""

import math
import struct
from pathlib import Path

import torch
from torch import Tensor
from torchvision import datasets

from rbp.data.files import Source, broken, locate, read
from rbp.data.images import Images

_SOURCE = Source(
    name="Fashion-MNIST",
    folders=("", "FashionMNIST/raw"),
    files=(
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ),
    suffixes=("", ".gz"),
    fetch=lambda root: datasets.FashionMNIST(root, download=True),
    by_hand="install Debian's dataset-fashion-mnist, which puts them in /usr/share/datasets/fashion-mnist",
)
_CLASSES = 10


def fashion_mnist(root: str, download: bool) -> tuple[Images, Images]:
    """Return (train, test) of Fashion-MNIST, uint8 [N, 1, 28, 28].

    The published set has 60,000 training and 10,000 test images; smaller sets are accepted.
    """
    train_images, train_labels, test_images, test_labels = locate(_SOURCE, root, download)
    return _read_images(train_images, train_labels), _read_images(test_images, test_labels)


def _read_images(images_path: Path, labels_path: Path) -> Images:
    pixels, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1).long()
    if len(pixels) != len(labels):
        raise broken(
            labels_path, f"has {len(labels)} labels for the {len(pixels)} images of {images_path.name}"
        )
    if (label := int(labels.max())) >= _CLASSES:
        raise broken(labels_path, f"has a label {label}; labels go from 0 to {_CLASSES - 1}")
    return Images(pixels[:, None], labels)


def _read_idx(path: Path, n_axes: int) -> Tensor:
    """Read an idx file of bytes into a uint8 tensor.

    The format: two zero bytes, 8 (the code for bytes), the number of axes, the length of each axis (32 bits,
    most significant byte first), then the values.
    """
    content = read(path)
    start = 4 + 4 * n_axes
    magic = bytes([0, 0, 8, n_axes])
    if len(content) < start or content[:4] != magic:
        raise broken(
            path, f"is no idx file of {n_axes} axes: begins with {content[:4].hex()}, not {magic.hex()}"
        )
    shape = struct.unpack(f">{n_axes}I", content[4:start])
    if len(content) - start != math.prod(shape):
        sizes = " x ".join(map(str, shape))
        raise broken(path, f"announces {sizes} bytes and has {len(content) - start}")
    if 0 in shape:
        raise broken(path, "holds no images")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)
