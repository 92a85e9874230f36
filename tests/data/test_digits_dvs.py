"""The bundled event data: the camera against a pixel-by-pixel model, and what the recordings are."""

import math

import numpy as np
import pytest
import torch

from rbp.data import Images
from rbp.data.events.camera import simulate_events
from rbp.data.events.sets.digits_dvs import DRIFT, SIDE, STEPS, TREMOR, digits_dvs, events_of, path
from tests.support.event_recordings import framing


def made(**changed: object) -> tuple[Images, Images]:
    return digits_dvs("", False, framing(**{"T": 8, "size": SIDE} | changed))


@pytest.fixture(scope="module")
def usual() -> tuple[Images, Images]:
    return made()


def slow_pixel(intensities: list[float], threshold: float, dark: float) -> list[int]:
    """Events of one pixel: step by step, one event at a time."""
    level, events = math.log(intensities[0] + dark), []
    for intensity in intensities[1:]:
        fired = 0
        while abs(gap := math.log(intensity + dark) - level) >= threshold - 1e-9:
            fired += 1 if gap > 0 else -1
            level += math.copysign(threshold, gap)
        events.append(fired)
    return events


def test_a_pixel_fires_when_its_log_intensity_has_moved_by_the_threshold() -> None:
    films = torch.rand(3, 20, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    events = simulate_events(films, 0.3, 0.1)
    for n in range(3):
        for y, x in ((0, 0), (1, 3), (2, 2)):
            assert events[n, :, y, x].tolist() == slow_pixel(films[n, :, y, x].tolist(), 0.3, 0.1)


def test_what_does_not_change_gives_no_events() -> None:
    assert simulate_events(torch.full((2, 5, 3, 3), 0.7), 0.1, 0.1).abs().sum() == 0


def test_events_come_in_order_with_place_and_polarity() -> None:
    signed = np.zeros((STEPS, SIDE, SIDE), np.int16)
    signed[3, 5, 7], signed[1, 0, 2] = -2, 1
    read = events_of(signed)
    x, y, p = read.xyp()
    assert read.t.tolist() == [1000, 3000, 3000]
    assert (x.tolist(), y.tolist(), p.tolist()) == ([2, 7, 7], [0, 5, 5], [1, 0, 0])


def test_paths_drift_by_their_length_in_all_directions_and_tremble() -> None:
    places = path(4000, torch.Generator().manual_seed(0))
    way = places[-1] - places[0]  # the tremor has come round
    assert torch.allclose(way.norm(dim=-1), torch.tensor(DRIFT), atol=1e-4)
    assert way.mean(0).abs().max() < 0.1 * DRIFT
    around = places - torch.linspace(0, 1, STEPS + 1)[:, None, None] * way
    assert torch.allclose(
        (around - around[:-1].mean(0)).norm(dim=-1)[:-1].mean(), torch.tensor(TREMOR), atol=1e-3
    )


def test_recordings_are_frames_of_equal_number_evenly_by_class(usual: tuple[Images, Images]) -> None:
    train, test = usual
    assert train.pixels.shape == (1437, 8, 2, SIDE, SIDE) and len(test) == 360 and train.levels == 1
    events = torch.cat([train.pixels, test.pixels]).sum((2, 3, 4))
    assert events.min() > 10 and (events[:, :-1] == events[:, :1]).all()
    counts = test.labels.bincount()
    assert counts.min() >= 34 and counts.max() <= 37


@pytest.mark.slow
def test_recordings_are_the_same_in_every_framing_and_the_split_has_a_seed_of_its_own(
    usual: tuple[Images, Images],
) -> None:
    one = made(T=1)
    for ours, whole in zip(usual, one, strict=True):
        assert torch.equal(ours.pixels.sum(1), whole.pixels[:, 0]) and torch.equal(ours.labels, whole.labels)
    other = made(T=1, split_seed=1)[1]
    assert not torch.equal(other.pixels, one[1].pixels)
