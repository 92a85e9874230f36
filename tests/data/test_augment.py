"""Crop, flip and Cutout against the slow and obvious way, image by image."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from rbp.data.augmentation.augment import blank_squares, crop, flip, roll


def random_images(n: int, size: int = 32) -> Tensor:
    return torch.randint(1, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def index_of(image: Tensor, candidates: list[Tensor]) -> int:
    """Which of the candidates an image is; exactly one."""
    (place,) = [i for i, candidate in enumerate(candidates) if torch.equal(image, candidate)]
    return place


@pytest.mark.parametrize("padding", [1, 2])
def test_crops_are_torchvision_s_crops_of_the_padded_image_all_equally_often(padding: int) -> None:
    images = random_images(4, size=8).repeat(500, 1, 1, 1)
    n_places = (2 * padding + 1) ** 2
    counts = torch.zeros(n_places)
    crops_of = []
    for image in images[:4]:
        padded = F.pad(image, [padding] * 4, fill=0)
        places = [(top, left) for top in range(2 * padding + 1) for left in range(2 * padding + 1)]
        crops_of.append([F.crop(padded, top, left, 8, 8) for top, left in places])
    for i, image in enumerate(crop(images, padding, generator())):
        counts[index_of(image, crops_of[i % 4])] += 1
    expected = 2000 / n_places
    assert ((counts - expected).abs() < 4.5 * expected**0.5).all()


def test_flips_swap_left_and_right_of_half_of_the_images() -> None:
    images = random_images(2000, size=4)
    pairs = zip(images, flip(images, generator()), strict=True)
    flipped = [index_of(out, [image, image.flip(-1)]) for image, out in pairs]
    assert abs(sum(flipped) - 1000) < 4.5 * 500**0.5


@pytest.mark.parametrize("side", [1, 2, 3, 16])
def test_squares_around_every_pixel_equally_often_and_cut_at_the_border(side: int) -> None:
    size = 6
    squares = []
    for row in range(size):
        for column in range(size):
            mask = torch.ones(size, size)
            for i in range(row - side // 2, row - side // 2 + side):
                for j in range(column - side // 2, column - side // 2 + side):
                    if 0 <= i < size and 0 <= j < size:
                        mask[i, j] = 0
            squares.append(mask)
    x = torch.randn(3600, 2, size, size, generator=generator(0))
    before = x.clone()
    blanked = blank_squares(x, side, generator())
    for image, out in zip(before, blanked, strict=True):
        assert torch.equal(out, image * (out[0] != 0))
    mean_mask = (blanked[:, 0] != 0).float().mean(0)
    expected = torch.stack(squares).mean(0)
    assert ((mean_mask - expected).abs() < 4.5 * (expected * (1 - expected) / 3600).sqrt() + 1e-6).all()
    assert all(any(torch.equal((out[0] != 0).float(), mask) for mask in squares) for out in blanked[:200])


def test_a_side_of_0_blanks_nothing() -> None:
    x = torch.ones(5, 3, 4, 4)
    assert torch.equal(blank_squares(x, 0, generator()), torch.ones(5, 3, 4, 4))


@pytest.mark.parametrize("most", [1, 2])
def test_rolls_are_torch_s_rolls_all_equally_often(most: int) -> None:
    images = random_images(4, size=8).repeat(500, 1, 1, 1)
    moves = [(down, right) for down in range(-most, most + 1) for right in range(-most, most + 1)]
    counts = torch.zeros(len(moves))
    rolled = [[image.roll(move, (1, 2)) for move in moves] for image in images[:4]]
    for i, image in enumerate(roll(images, most, generator())):
        counts[index_of(image, rolled[i % 4])] += 1
    expected = 2000 / len(moves)
    assert ((counts - expected).abs() < 4.5 * expected**0.5).all()
