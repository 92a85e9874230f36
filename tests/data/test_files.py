"""Where files are looked for, what is said when they are not there, and when something is fetched."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from torchvision import datasets

from rbp.data.static.cifar import cifar10, cifar100
from rbp.data.static.fashion_mnist import fashion_mnist
from rbp.errors import DataError
from tests.support.datasets import write_cifar10, write_cifar100, write_fashion_mnist

READERS = [
    pytest.param(cifar10, write_cifar10, "CIFAR10", "cifar-10-batches-py", "data_batch_3", id="cifar10"),
    pytest.param(cifar100, write_cifar100, "CIFAR100", "cifar-100-python", "test", id="cifar100"),
    pytest.param(
        fashion_mnist, write_fashion_mnist, "FashionMNIST", "", "t10k-labels-idx1-ubyte", id="fashion_mnist"
    ),
]
each_reader = pytest.mark.parametrize(("reader", "write", "fetcher", "below", "file"), READERS)


@each_reader
def test_nothing_there_names_folder_files_and_ways_out(
    tmp_path: Path, reader: Any, write: Callable[[Path], Any], fetcher: str, below: str, file: str
) -> None:
    with pytest.raises(DataError) as caught:
        reader(str(tmp_path), download=False)
    said = str(caught.value)
    assert f"dataset.root={tmp_path}" in said and str(tmp_path / below) in said and file in said
    assert "dataset.download=true" in said and "the folder has none of its files" in said
    assert "\n" not in said


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        cifar10(str(tmp_path / "nowhere"), download=False)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="not a folder"):
        cifar10(str(tmp_path / "file"), download=False)


@each_reader
@pytest.mark.parametrize("download", [False, True])
def test_a_missing_file_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reader: Any,
    write: Callable[[Path], Any],
    fetcher: str,
    below: str,
    file: str,
    download: bool,
) -> None:
    write(tmp_path)
    (tmp_path / below / file).unlink()
    monkeypatch.setattr(datasets, fetcher, None)  # what is there in part is not fetched
    with pytest.raises(DataError, match=rf"is incomplete, missing: {file}\. ") as caught:
        reader(str(tmp_path), download=download)
    assert str(tmp_path / below) in str(caught.value)


@each_reader
def test_download_fetches_what_is_not_there_and_only_that(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reader: Any,
    write: Callable[[Path], Any],
    fetcher: str,
    below: str,
    file: str,
) -> None:
    fetched = []

    def fetch(root: str, download: bool) -> None:
        assert download
        fetched.append(root)
        write(Path(root))

    monkeypatch.setattr(datasets, fetcher, fetch)
    reader(str(tmp_path / "new"), download=True)
    reader(str(tmp_path / "new"), download=True)
    assert fetched == [str(tmp_path / "new")]


@each_reader
@pytest.mark.parametrize("error", [URLError("Name or service not known"), RuntimeError("File corrupted")])
def test_a_download_that_fails_is_one_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reader: Any,
    write: Callable[[Path], Any],
    fetcher: str,
    below: str,
    file: str,
    error: Exception,
) -> None:
    def fetch(root: str, download: bool) -> None:
        (Path(root) / below).mkdir(parents=True, exist_ok=True)  # as torchvision does
        raise error

    monkeypatch.setattr(datasets, fetcher, fetch)
    with pytest.raises(
        DataError, match=r"the download failed: .*(not known|corrupted).*Expected in"
    ) as caught:
        reader(str(tmp_path / "a" / "b"), download=True)
    assert file in str(caught.value) and "try again where there is a network" in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # not even empty folders


@contextmanager
def without_permission(path: Path) -> Iterator[None]:
    """Nobody but root may read a path, and we are not root."""
    mode, user = path.stat().st_mode, os.geteuid()
    path.chmod(0)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)


@each_reader
def test_a_folder_or_file_that_may_not_be_read(
    tmp_path: Path, reader: Any, write: Callable[[Path], Any], fetcher: str, below: str, file: str
) -> None:
    write(tmp_path)
    with without_permission(tmp_path), pytest.raises(DataError, match=f"{tmp_path}.*Permission denied"):
        reader(str(tmp_path), download=False)


def test_a_folder_in_a_file_s_place(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="test_batch: cannot be read: Is a directory"):
        cifar10(str(tmp_path), download=False)
