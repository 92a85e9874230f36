"""Fashion-MNIST: the real files where they are, small idx files otherwise."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from rbp.data.static.fashion_mnist import fashion_mnist
from rbp.errors import DataError
from tests.support.datasets import (
    FASHION_MNIST,
    dataset_config,
    idx,
    needs_fashion_mnist,
    write_fashion_mnist,
)


@needs_fashion_mnist
def test_the_real_files() -> None:
    cfg = dataset_config("fashion_mnist")
    train, test = fashion_mnist(str(FASHION_MNIST), download=False)
    assert train.pixels.shape == (60_000, 1, 28, 28) and test.pixels.shape == (10_000, 1, 28, 28)
    assert train.labels.bincount().tolist() == [6000] * 10 and test.labels.bincount().tolist() == [1000] * 10
    assert train.labels[:5].tolist() == [
        9,
        0,
        0,
        3,
        0,
    ]  # as the authors' page shows them: boot, shirts, dress
    shades = torch.arange(256, dtype=torch.float64) / 255
    weights = torch.bincount(train.pixels.flatten(), minlength=256) / train.pixels.numel()
    mean = (weights * shades).sum()
    std = (weights * (shades - mean) ** 2).sum().sqrt()
    assert round(float(mean), 4) == cfg.mean[0] and round(float(std), 4) == cfg.std[0]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_small_files_packed_or_not(tmp_path: Path, packed: bool, below: str) -> None:
    parts = write_fashion_mnist(tmp_path / below, packed=packed)
    for images, (data, labels) in zip(fashion_mnist(str(tmp_path), False), parts.values(), strict=True):
        assert images.pixels.dtype == torch.uint8 and images.labels.dtype == torch.int64
        assert np.array_equal(images.pixels[:, 0].numpy(), data) and images.labels.tolist() == labels


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
PICTURES, TEN = np.zeros((10, 28, 28), np.uint8), np.arange(10, dtype=np.uint8)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (IMAGES, b"", "is no idx file of 3 axes: begins with , not 00000803"),
        (IMAGES, idx(PICTURES)[:10], "is no idx file of 3 axes"),
        (IMAGES, idx(TEN), "is no idx file of 3 axes: begins with 00000801, not 00000803"),
        (LABELS, idx(PICTURES), "is no idx file of 1 axes: begins with 00000803, not 00000801"),
        (IMAGES, idx(PICTURES)[:-1], "announces 10 x 28 x 28 bytes and has 7839"),
        (IMAGES, idx(PICTURES) + b"\0", "announces 10 x 28 x 28 bytes and has 7841"),
        (IMAGES, idx(PICTURES[:0]), "holds no images"),
        (LABELS, idx(TEN[:9]), "has 9 labels for the 10 images of train-images-idx3-ubyte"),
        (LABELS, idx(TEN + 1), "has a label 10; labels go from 0 to 9"),
        (
            IMAGES + ".gz",
            gzip.compress(idx(PICTURES), mtime=0)[:-20],
            "cannot be read: Compressed file ended",
        ),
        (IMAGES + ".gz", idx(PICTURES), "cannot be read: Not a gzipped file"),
        (IMAGES + ".gz", gzip.compress(idx(PICTURES), mtime=0)[:12] + bytes(40), "cannot be read"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, file: str, content: bytes, said: str) -> None:
    write_fashion_mnist(tmp_path, n_train=10)
    (tmp_path / file.removesuffix(".gz")).unlink()
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=f"{file}: {said}"):
        fashion_mnist(str(tmp_path), download=False)
