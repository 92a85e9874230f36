"""Batches: what is in them, in which order, and that nothing but seed, epoch and number decides it."""

from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from rbp.data import Images, eval_batches, n_train_batches, train_batches
from rbp.data.augmentation.augment import augment, blank_squares
from rbp.data.augmentation.autoaugment import autoaugment
from rbp.seeds import stream
from tests.support.datasets import dataset_config

PLAIN = {"crop": 0, "flip": False, "autoaugment": False, "cutout": 0}


def images(n: int) -> Images:
    """Labels are the images' numbers."""
    pixels = torch.randint(256, (n, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Images(pixels, torch.arange(n))


def epoch_of(n: int, cfg: DictConfig, **changed: int) -> list[tuple[Tensor, Tensor]]:
    settings: dict[str, Any] = {"batch_size": 16, "seed": 0, "epoch": 0} | changed
    return list(train_batches(images(n), cfg, **settings))


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (32, 16, [16, 16]),
        (35, 16, [16, 16, 3]),
        (33, 16, [16, 16]),
        (3, 16, [3]),
        (1, 16, []),
        (3, 1, [1, 1, 1]),
    ],
)
def test_sizes_of_batches_a_single_image_left_over_is_dropped(n: int, batch_size: int, sizes: list) -> None:
    batches = epoch_of(n, dataset_config("cifar10", augment=PLAIN), batch_size=batch_size)
    assert [len(y) for _, y in batches] == sizes
    assert n_train_batches(images(n), batch_size) == len(sizes)


def test_an_epoch_has_every_image_once_in_an_order_of_its_own() -> None:
    cfg = dataset_config("cifar10", augment=PLAIN)
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        order = torch.cat([y for _, y in epoch_of(100, cfg, seed=seed, epoch=epoch)])
        assert sorted(order.tolist()) == list(range(100))
        orders.append(tuple(order.tolist()))
    assert len(set(orders)) == 4


def test_values_are_normalised_shades() -> None:
    cfg = dataset_config("cifar10", augment=PLAIN)
    mean, std = torch.tensor(cfg.mean).view(3, 1, 1), torch.tensor(cfg.std).view(3, 1, 1)
    expected = (images(40).pixels.double() / 255 - mean) / std
    for x, y in [*epoch_of(40, cfg), *eval_batches(images(40), cfg, batch_size=16)]:
        assert x.dtype == torch.float32 and y.dtype == torch.int64
        torch.testing.assert_close(x.double(), expected[y], rtol=0, atol=1e-6)


def test_evaluation_gives_every_image_once_in_order_and_ignores_augmentation() -> None:
    batches = list(eval_batches(images(33), dataset_config("cifar10"), batch_size=16))
    assert [y.tolist() for _, y in batches] == [list(range(16)), list(range(16, 32)), [32]]


def test_the_recipe_is_crop_flip_autoaugment_normalise_cutout_on_one_stream_a_batch() -> None:
    cfg = dataset_config("cifar10")
    whole = images(40)
    mean, std = torch.tensor(cfg.mean).view(3, 1, 1), torch.tensor(cfg.std).view(3, 1, 1)
    crop_and_flip = DictConfig(dict(cfg.augment) | {"autoaugment": False})
    for number, (x, y) in enumerate(epoch_of(40, cfg, seed=3, epoch=7)):
        random = stream(3, "augment", 7, number)
        changed = autoaugment(augment(whole.pixels[y], crop_and_flip, random), random)
        blanked = blank_squares((changed.float() / 255 - mean) / std, 16, random)
        torch.testing.assert_close(x, blanked)
        assert (
            (x == 0).all(1).flatten(1).sum(1) >= 8 * 8
        ).all()  # a quarter of the square at least is inside


def test_batches_are_the_same_again_whatever_the_global_random_state_and_leave_it_alone() -> None:
    cfg = dataset_config("cifar10")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = epoch_of(60, cfg)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    for (x, y), (x_again, y_again) in zip(first, epoch_of(60, cfg), strict=True):
        assert torch.equal(x, x_again) and torch.equal(y, y_again)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"epoch": 1}])
def test_another_seed_or_epoch_augments_differently(changed: dict[str, int]) -> None:
    cfg = dataset_config("cifar10", augment=PLAIN | {"crop": 4})
    images_0 = {int(n): x for xs, ys in epoch_of(60, cfg) for x, n in zip(xs, ys, strict=True)}
    images_1 = {int(n): x for xs, ys in epoch_of(60, cfg, **changed) for x, n in zip(xs, ys, strict=True)}
    assert sum(torch.equal(images_0[n], images_1[n]) for n in range(60)) < 10  # 1 in 81 places is the same


@pytest.mark.parametrize("start", [0, 1, 3, 4, 9])
def test_starting_in_mid_epoch_gives_the_rest_of_the_same_batches(start: int) -> None:
    cfg = dataset_config("cifar10")
    rest = epoch_of(60, cfg, start=start)
    expected = epoch_of(60, cfg)[start:]
    assert len(rest) == len(expected) == max(4 - start, 0)
    for (x, y), (x_rest, y_rest) in zip(expected, rest, strict=True):
        assert torch.equal(x, x_rest) and torch.equal(y, y_rest)


def test_the_images_themselves_are_never_changed() -> None:
    data = images(40)
    before = data.pixels.clone()
    for batches in (
        train_batches(data, dataset_config("cifar10"), batch_size=40, seed=0, epoch=0),
        train_batches(data, dataset_config("cifar10", augment=PLAIN), batch_size=40, seed=0, epoch=0),
        eval_batches(data, dataset_config("cifar10"), batch_size=40),
    ):
        for x, y in batches:
            x.zero_()
            y.zero_()
    assert torch.equal(data.pixels, before) and torch.equal(data.labels, torch.arange(40))


# --- frames -------------------------------------------------------------------------------------------------


def frames(n: int) -> Images:
    """Labels are the recordings' numbers; counts in quarters."""
    pixels = torch.randint(1, 9, (n, 3, 2, 48, 48), generator=torch.Generator().manual_seed(0))
    return Images(pixels.to(torch.int16), torch.arange(n), levels=4)


def test_frames_are_counts_and_all_of_a_recording_are_augmented_alike() -> None:
    cfg, data = dataset_config("cifar10_dvs", T=3), frames(20)
    x = torch.cat([x for x, _ in epoch_of_frames(data, cfg)])
    y = torch.cat([y for _, y in epoch_of_frames(data, cfg)])
    assert x.dtype == torch.float32 and x.shape == (20, 3, 2, 48, 48)
    changes = set()
    for recording, number in zip(x, y, strict=True):
        whole = data.pixels[number] / 4
        found = [
            (flipped, down, right)
            for flipped in (False, True)
            for down in range(-5, 6)
            for right in range(-5, 6)
            if torch.equal((whole.flip(-1) if flipped else whole).roll((down, right), (-2, -1)), recording)
        ]
        assert len(found) == 1
        changes.add(found[0])
    assert len(changes) > 10
    for batch, _ in eval_batches(data, cfg, batch_size=20):
        assert torch.equal(batch, data.pixels / 4)


def test_crop_and_cutout_of_frames_are_the_same_in_every_frame() -> None:
    cfg = dataset_config("cifar10_dvs", T=3, augment=PLAIN | {"crop": 4, "cutout": 8, "roll": 0})
    (batch,) = [x for x, _ in epoch_of_frames(frames(16), cfg)]
    dark = (batch == 0).flatten(1, 2)  # counts are never 0: what is dark was blanked or is padding
    assert torch.equal(dark.any(1), dark.all(1)) and dark.any()


def epoch_of_frames(data: Images, cfg: DictConfig) -> list[tuple[Tensor, Tensor]]:
    return list(train_batches(data, cfg, batch_size=16, seed=0, epoch=0))
