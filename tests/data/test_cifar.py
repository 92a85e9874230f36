"""CIFAR-10 and CIFAR-100 from files in the true format: what is read, and what is said of broken files."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rbp.data.static.cifar import cifar10, cifar100
from rbp.errors import DataError
from tests.support.datasets import write_cifar10, write_cifar100, write_python2_pickle

BATCHES = "cifar-10-batches-py"


def test_pixels_and_labels_are_those_of_the_files_in_order(tmp_path: Path) -> None:
    parts = write_cifar10(tmp_path, n_per_batch=7)
    train, test = cifar10(str(tmp_path), download=False)
    assert train.pixels.shape == (35, 3, 32, 32) and test.pixels.shape == (7, 3, 32, 32)
    assert train.pixels.dtype == torch.uint8 and train.labels.dtype == torch.int64
    data, labels = parts["data_batch_2"]
    # An image's 3,072 numbers are all reds row by row, then all greens, then all blues.
    assert train.pixels[7 + 3, 2, 5, 9] == data[3, 2 * 1024 + 5 * 32 + 9]
    assert train.labels[7:14].tolist() == labels
    assert np.array_equal(test.pixels.numpy().reshape(7, -1), parts["test_batch"][0])
    assert test.labels.tolist() == parts["test_batch"][1]


def test_root_may_be_the_folder_itself(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    above, _ = cifar10(str(tmp_path), download=False)
    itself, _ = cifar10(str(tmp_path / BATCHES), download=False)
    assert torch.equal(above.pixels, itself.pixels)


def test_cifar100_has_the_fine_labels(tmp_path: Path) -> None:
    parts = write_cifar100(tmp_path)
    train, test = cifar100(str(tmp_path), download=False)
    assert train.labels.tolist() == parts["train"][1] and test.labels.tolist() == parts["test"][1]
    assert np.array_equal(train.pixels.numpy().reshape(200, -1), parts["train"][0])


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("key", [lambda key: key, bytes.decode], ids=["bytes", "text"])
def test_batches_that_python_3_wrote_are_read_too(
    tmp_path: Path, protocol: int, key: Callable[[bytes], bytes | str]
) -> None:
    parts = write_cifar10(tmp_path)
    data, labels = parts["data_batch_1"]
    anew = pickle.dumps({key(b"data"): data, key(b"labels"): labels}, protocol=protocol)
    (tmp_path / BATCHES / "data_batch_1").write_bytes(anew)
    train, _ = cifar10(str(tmp_path), download=False)
    assert np.array_equal(train.pixels[:20].numpy().reshape(20, -1), data)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([1, 2], "holds a list; must hold a dict"),
        ({b"labels": [1]}, "lacks data; has 'labels'"),
        ({b"data": np.zeros((1, 3072), np.uint8)}, "lacks labels; has 'data'"),
        (
            {b"data": np.zeros((1, 3000), np.uint8), b"labels": [1]},
            r"data is \[1, 3000\]; must be \[N, 3072",
        ),
        ({b"data": np.zeros((1, 3072), np.int64), b"labels": [1]}, "array of i8; must be of u1"),
        ({b"data": [1, 2, 3], b"labels": [1]}, "data is a list; must be an array"),
        ({b"data": np.zeros((0, 3072), np.uint8), b"labels": []}, "no images"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, "1 labels for 2 images"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, "a label 10; labels go from 0 to 9"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [-1]}, "a label -1; labels go from 0 to 9"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [1.5]}, "list of whole numbers"),
    ],
)
def test_a_batch_with_wrong_content_is_named(tmp_path: Path, batch: object, said: str) -> None:
    write_cifar10(tmp_path)
    write_python2_pickle(tmp_path / BATCHES / "data_batch_3", batch)
    with pytest.raises(DataError, match=rf"data_batch_3: .*{said}"):
        cifar10(str(tmp_path), download=False)


def test_a_file_cut_short_anywhere_is_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path, n_per_batch=1)
    path = tmp_path / BATCHES / "data_batch_4"
    whole = path.read_bytes()
    for length in [*range(0, 200), *range(200, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="data_batch_4: is no whole pickle"):
            cifar10(str(tmp_path), download=False)


@pytest.mark.parametrize("value", [0x00, 0x28, 0x72, 0xFF])
def test_a_changed_byte_is_either_harmless_or_named(tmp_path: Path, value: int) -> None:
    write_cifar10(tmp_path, n_per_batch=1)
    path = tmp_path / BATCHES / "test_batch"
    whole = path.read_bytes()
    for place in [*range(0, 200), *range(len(whole) - 100, len(whole))]:
        path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        try:
            _, test = cifar10(str(tmp_path), download=False)
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert test.pixels.shape == (1, 3, 32, 32)


class Calls:
    """Pickled, it asks the reader to call a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("function", [Path.touch, open, eval, np.ndarray, np.load])
def test_a_data_file_cannot_run_code(tmp_path: Path, function: Callable[..., Any]) -> None:
    write_cifar10(tmp_path)
    trap = tmp_path / "sprung"
    argument = {eval: f"open({str(trap)!r}, 'w')", np.ndarray: (2, 3072), Path.touch: trap}.get(
        function, str(trap)
    )
    mode = ("w",) if function is open else ()
    content = pickle.dumps({b"data": Calls(function, argument, *mode), b"labels": [1, 2]}, protocol=2)
    (tmp_path / BATCHES / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match="test_batch: is no whole pickle of images and labels"):
        cifar10(str(tmp_path), download=False)
    assert not trap.exists()
