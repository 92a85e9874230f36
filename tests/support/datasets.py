"""Small image data sets in their true on-disk formats, `dataset` config groups to read them with, and where
the real Fashion-MNIST lies.
"""

import gzip
import os
import pickle
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from rbp.config.composition.places import CONF
from rbp.data import ImageFiles, Images

Part = tuple[np.ndarray, list[int]]  # data uint8 [N, 3072] or [N, 28, 28], labels

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
needs_fashion_mnist = pytest.mark.skipif(
    not FASHION_MNIST.is_dir() and "RBP_REQUIRE_FASHION" not in os.environ,
    reason="Fashion-MNIST is not here: apt-get install dataset-fashion-mnist",
)


def in_memory(images: Images | ImageFiles) -> Images:
    """The same, where their pixels are looked at."""
    assert isinstance(images, Images)
    return images


def dataset_config(name: str, **keys: Any) -> DictConfig:
    """conf/dataset/NAME.yaml with some keys replaced."""
    cfg = OmegaConf.load(CONF / "dataset" / f"{name}.yaml")
    assert isinstance(cfg, DictConfig)
    if "defaults" in cfg:  # a data set with a T of its own
        cfg = cfg.dataset
        cfg.T = None
    for key, value in keys.items():
        OmegaConf.update(cfg, key, str(value) if isinstance(value, Path) else value)
    return cfg


def write_cifar10(folder: Path, n_per_batch: int = 20, seed: int = 0) -> dict[str, Part]:
    """folder/cifar-10-batches-py as Python 2 wrote it, with fewer images; gives what each file holds."""
    parts = {}
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], start=1):
        data, labels = _images(n_per_batch, 10, (3072,), seed, number)
        batch = {
            b"data": data,
            b"labels": labels,
            b"batch_label": b"batch %d of 6" % number,
            b"filenames": [b"image_%06d.png" % i for i in range(n_per_batch)],
        }
        write_python2_pickle(folder / "cifar-10-batches-py" / name, batch)
        parts[name] = data, labels
    return parts


def write_cifar100(folder: Path, n_train: int = 200, n_test: int = 100, seed: int = 0) -> dict[str, Part]:
    """folder/cifar-100-python as Python 2 wrote it, with fewer images; gives data and fine labels."""
    parts = {}
    for number, (name, n) in enumerate({"train": n_train, "test": n_test}.items()):
        data, labels = _images(n, 100, (3072,), seed, number)
        batch = {
            b"data": data,
            b"fine_labels": labels,
            b"coarse_labels": [label // 5 for label in labels],
            b"batch_label": b"batch %d of 2" % number,
            b"filenames": [b"image_%06d.png" % i for i in range(n)],
        }
        write_python2_pickle(folder / "cifar-100-python" / name, batch)
        parts[name] = data, labels
    return parts


def write_fashion_mnist(
    folder: Path, n_train: int = 100, n_test: int = 50, seed: int = 0, packed: bool = False
) -> dict[str, Part]:
    """The four idx files in a folder, with fewer images."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {}
    for number, (name, n) in enumerate({"train": n_train, "t10k": n_test}.items()):
        data, labels = _images(n, 10, (28, 28), seed, number)
        for kind, array in {"images-idx3": data, "labels-idx1": np.array(labels, np.uint8)}.items():
            content = idx(array)
            path = folder / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
        parts[name] = data, labels
    return parts


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an idx file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_python2_pickle(path: Path, value: Any) -> None:
    content = BytesIO()
    _Python2Pickler(content, protocol=2).dump(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getvalue())


class _Python2Pickler(pickle._Pickler):
    """Writes bytes and strings as Python 2 wrote its strings, and numpy's modules by their old names."""

    write: Callable[[bytes], Any]
    memoize: Callable[[Any], None]
    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, value: bytes | str) -> None:
        content = value.encode("latin1") if isinstance(value, str) else value
        short = len(content) < 256
        head = pickle.SHORT_BINSTRING + bytes([len(content)]) if short else pickle.BINSTRING
        self.write(head + (b"" if short else struct.pack("<i", len(content))) + content)
        self.memoize(value)

    def save_global(self, value: Any, name: str | None = None) -> None:
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{value.__name__}\n".encode())
        self.memoize(value)

    def save_bool(self, value: bool) -> None:
        self.write(pickle.BININT1 + bytes([value]))

    dispatch[bool] = save_bool
    dispatch[bytes] = dispatch[str] = save_string
    dispatch[type] = dispatch[type(len)] = dispatch[type(pickle.dumps)] = save_global


def _images(n: int, n_classes: int, shape: tuple[int, ...], seed: int, part: int) -> Part:
    """Noise around one picture per class, the same for all parts; each class as often as n allows."""
    pictures = np.random.default_rng(seed).integers(0, 192, (n_classes, *shape), dtype=np.uint8)
    rng = np.random.default_rng([seed, part])
    labels = rng.permutation(np.arange(n) % n_classes if n >= n_classes else rng.choice(n_classes, n, False))
    noise = rng.integers(0, 64, (n, *shape), dtype=np.uint8)
    return pictures[labels] + noise, labels.tolist()
