"""Digits that go round: what the recordings are, and that frames which merge flashes hide the direction."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from rbp.data import Images
from rbp.data.events.sets.circling_digits import (
    FLASHES,
    RADIUS,
    SIDE,
    direction,
    direction_90,
    flashes,
    places,
    which_digit,
)
from tests.support.event_recordings import framing


def made(reader: Callable[..., tuple[Images, Images]] = direction, T: int = 8) -> tuple[Images, Images]:
    return reader("", False, framing(T=T, size=SIDE, by="time"))


def test_places_are_on_the_circle_and_go_the_way_that_the_class_says() -> None:
    assert places(0, 0, 45).tolist() == [[4, 0], [3, 3], [0, 4], [-3, 3], [-4, 0], [-3, -3], [0, -4], [3, -3]]
    assert places(0, 1, 45).tolist() == [[4, 0], *reversed(places(0, 0, 45).tolist()[1:])]
    assert places(2, 0, 90).tolist() == [[0, 4], [-4, 0], [0, -4], [4, 0]] * 2
    for phase in range(8):
        radii = places(phase, 0, 45).double().norm(dim=1)
        assert (radii - RADIUS).abs().max() < 0.3


def test_a_flash_is_the_digit_at_its_place_in_both_polarities() -> None:
    image = load_digits().images[3]
    events = flashes(image, places(0, 0, 45))
    frame = np.zeros((FLASHES, 2, SIDE, SIDE))
    for t, x, y, p in zip(events.t, *events.xyp(), strict=True):
        frame[t // 1000, p, y, x] += 1
    levels = np.ceil(image / 4)
    for n, (right, down) in enumerate(places(0, 0, 45).tolist()):
        wanted = np.zeros((SIDE, SIDE))
        wanted[4 + down : 12 + down, 4 + right : 12 + right] = levels
        assert (frame[n, 0] == wanted).all() and (frame[n, 1] == wanted).all()
    assert (np.diff(events.t) >= 0).all()


def test_eight_frames_are_the_flashes_and_fewer_their_sums() -> None:
    eight = made()[0].pixels.float()
    for T in (4, 2, 1):
        fewer = made(T=T)[0].pixels.float()
        assert torch.equal(fewer, eight.unflatten(1, (T, -1)).sum(2))


def test_recordings_are_split_evenly_and_always_the_same() -> None:
    (train, test), again = made(), made()
    assert len(train) == 1437 and len(test) == 360
    assert torch.equal(train.pixels, again[0].pixels) and torch.equal(train.labels, again[0].labels)
    assert abs(int(train.labels.sum()) - 718) <= 1 and int(test.labels.sum()) == 180
    digits = made(which_digit)[0]
    assert set(digits.labels.tolist()) == set(range(10))
    assert len(made(direction_90)[0]) == 1437


@pytest.mark.parametrize("frames, degrees", [(1, 45), (2, 45), (4, 90), (2, 90)])
def test_merged_frames_are_those_of_the_other_direction_as_well(frames: int, degrees: int) -> None:
    """For each way round there is one the other way with the same frames: nothing tells them apart."""
    image = load_digits().images[0]

    def merged(turn: int) -> set[bytes]:
        found = set()
        for phase in range(8):
            at = flashes(image, places(phase, turn, degrees))
            films = [at.between(n * 1000, (n + 1) * 1000) for n in range(FLASHES)]
            parts = [np.bincount(part.cell, minlength=2 * SIDE**2) for part in films]
            found.add(np.stack(parts).reshape(frames, -1, 2 * SIDE**2).sum(1).tobytes())
        return found

    assert merged(0) == merged(1)


@pytest.mark.parametrize("T, told", [(8, True), (4, True), (2, False), (1, False)])
def test_a_classifier_that_sees_all_frames_tells_the_direction_or_is_at_chance(T: int, told: bool) -> None:
    """By the sum of pixels of each frame's quarters, and all products of two such sums."""
    train, test = made(T=T)

    def features(images: Images) -> torch.Tensor:
        sums = torch.nn.functional.adaptive_avg_pool2d(images.pixels.double().sum(2), 2).flatten(1)
        sums = (sums - sums.mean(1, keepdim=True)) / (sums.std(1, keepdim=True) + 1e-6)
        return (sums[:, :, None] * sums[:, None, :]).flatten(1) if T > 1 else sums

    weights = torch.linalg.lstsq(
        torch.cat([x := features(train), 3e1 * torch.eye(x.shape[1], dtype=x.dtype)]),
        torch.cat([2.0 * train.labels.double() - 1, torch.zeros(x.shape[1], dtype=x.dtype)]),
    ).solution
    right = float(((features(test) @ weights > 0) == test.labels.bool()).double().mean())
    assert right > 0.95 if told else abs(right - 0.5) < 0.1
