"""From a config group to splits: the hold-out, the cache, and keys that do not fit the files."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbp.data import Images, load
from rbp.data.holdout import hold_out
from rbp.errors import ConfigError
from tests.support.datasets import dataset_config, in_memory, write_cifar10, write_cifar100


def numbered(labels: torch.Tensor) -> Images:
    """Images of one pixel row of 4 bytes that spell their number."""
    numbers = torch.arange(len(labels), dtype=torch.int32)
    return Images(numbers.view(torch.uint8).view(-1, 1, 1, 4), labels)


def numbers(images: Images) -> list[int]:
    return images.pixels.reshape(-1, 4).contiguous().view(torch.int32)[:, 0].tolist()


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8), data=st.data())
def test_hold_out_parts_a_set_with_the_same_share_of_every_class(
    sizes: list[int], data: st.DataObject
) -> None:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    n = data.draw(st.integers(0, len(labels)))
    rest, held = hold_out(numbered(labels), n, torch.Generator().manual_seed(1))
    assert len(held) == n and sorted(numbers(rest) + numbers(held)) == list(range(len(labels)))
    for part in (rest, held):
        assert numbers(part) == sorted(numbers(part))
        assert torch.equal(part.labels, labels[numbers(part)])
    counts = held.labels.bincount(minlength=len(sizes))
    shares = torch.tensor(sizes) * n / max(len(labels), 1)
    assert (counts - shares).abs().max() < 1


def test_held_out_images_are_drawn_at_random() -> None:
    _, held = hold_out(numbered(torch.zeros(1000, dtype=torch.int64)), 100, torch.Generator().manual_seed(0))
    # The mean of 100 of the numbers 0..999: 499.5, give or take 28.9 * sqrt(0.9)
    assert abs(sum(numbers(held)) / 100 - 499.5) < 4 * 27.4


def test_load_without_and_with_a_validation_split() -> None:
    whole = load(dataset_config("digits"))
    assert whole.val is None and (len(whole.train), len(whole.test)) == (1437, 360)
    parts = load(dataset_config("digits", val_split=0.2))
    assert parts.val is not None and (len(parts.train), len(parts.val)) == (1150, 287)  # 287.4 held out
    assert torch.equal(in_memory(parts.test).pixels, in_memory(whole.test).pixels)
    # The images that past results were chosen on.
    assert parts.val.labels[:10].tolist() == [4, 6, 2, 4, 6, 8, 9, 5, 4, 0]
    assert int(in_memory(parts.val).pixels.sum()) == 1_425_333
    again = load(dataset_config("digits", val_split=0.2, augment={"flip": True}))
    assert again.val is not None and torch.equal(in_memory(again.val).pixels, in_memory(parts.val).pixels)


@pytest.mark.parametrize(("share", "held_out"), [(0.0003, 0), (0.9997, 1437)])
def test_a_split_with_an_empty_side_is_refused(share: float, held_out: int) -> None:
    with pytest.raises(ConfigError, match=rf"dataset\.val_split={share}: holds out {held_out} of the 1437"):
        load(dataset_config("digits", val_split=share))


def test_files_are_read_once_a_process(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    cfg = dataset_config("cifar10", root=tmp_path)
    first = load(cfg)
    shutil.rmtree(tmp_path)
    assert in_memory(load(cfg).train).pixels is in_memory(first.train).pixels
    cfg.val_split = 0.1
    assert len(load(cfg).train) == 90


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("channels", 1, r"dataset\.channels=1: the training images of dataset=cifar10 have 3"),
        ("size", 28, r"dataset\.size=28: the training images of dataset=cifar10 are 32 x 32"),
        ("classes", 9, r"dataset\.classes=9: the training images of dataset=cifar10 have labels up to 9"),
        ("classes", 5, r"dataset\.classes=5: .* have labels up to 9, so 10 or more"),
        (
            "_target_",
            "rbp.data.static.cifar.cifar11",
            r"dataset\._target_=rbp.data.static.cifar.cifar11: must name a function",
        ),
        (
            "_target_",
            "rbp.data.nowhere.read",
            r"dataset\._target_=rbp.data.nowhere.read: must name a function",
        ),
        ("_target_", "read", r"dataset\._target_=read: must name a function"),
    ],
)
def test_keys_that_do_not_fit_the_files(tmp_path: Path, key: str, value: object, said: str) -> None:
    write_cifar10(tmp_path)
    with pytest.raises(ConfigError, match=said):
        load(dataset_config("cifar10", root=tmp_path, **{key: value}))


def test_more_classes_than_the_files_have_is_refused_unless_chance_may_have_hidden_them(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.classes=11: .* of dataset=digits have 10 classes"):
        load(dataset_config("digits", classes=11))
    write_cifar100(tmp_path, n_train=30, n_test=30)
    assert len(load(dataset_config("cifar100", root=tmp_path)).train) == 30


def float_pixels(root: str, download: bool) -> tuple[Images, Images]:
    """A reader that hands on what it should not."""
    images = Images(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]))
    return images, images


def test_a_reader_must_give_bytes() -> None:
    cfg = dataset_config("digits", _target_=f"{__name__}.float_pixels")
    with pytest.raises(ConfigError, match=r"images of dataset=digits must be torch.uint8 \[N, C, H, W\]"):
        load(cfg)
