"""Frames of events against slow and obvious references."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rbp.data.events.events import count, from_xyp
from rbp.data.events.readers.aedat2 import read_aedat2
from rbp.data.events.recordings import narrow
from rbp.data.events.resize import levels, resize_as_published, shrink
from tests.support.event_recordings import Events, aedat2, random_events, slow_count

SIDE = 6
event = st.tuples(st.integers(0, 100), *[st.integers(0, SIDE - 1)] * 2, st.integers(0, 1))
any_events = st.lists(event, min_size=1, max_size=60).map(lambda events: sorted(events, key=lambda e: e[0]))


@pytest.mark.parametrize("by", ["number", "time"])
@given(events=any_events, T=st.integers(1, 12))
@settings(deadline=None)
def test_each_event_is_counted_in_its_frame_and_place(by: str, events: Events, T: int) -> None:
    t, x, y, p = np.array(events).T
    read = from_xyp(t, x, y, p, SIDE, "FILE")
    assert np.array_equal(count(read, T, by), slow_count(events, T, by, SIDE))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by", ["number", "time"])
@pytest.mark.parametrize("T", [1, 4, 10])
def test_frames_are_spikingjellys(by: str, T: int) -> None:
    utils = pytest.importorskip("spikingjelly.datasets.utils", exc_type=Exception)  # type: ignore[arg-type]
    events = random_events(3000, 7)
    columns = dict(zip("txyp", np.array(events).T, strict=True))
    theirs = utils.integrate_events_by_fixed_frames_number(columns, by, T, 128, 128)
    assert np.array_equal(count(read_aedat2(aedat2(events), "FILE"), T, by), theirs)


def test_frames_by_time_last_as_long_and_frames_by_number_have_as_many_events() -> None:
    x, y, p = np.zeros((3, 8), int)
    events = from_xyp(np.array([0, 1, 2, 3, 50, 99, 100, 100]), x, y, p, SIDE, "FILE")
    assert count(events, 4, "time").sum((1, 2, 3)).tolist() == [4, 0, 1, 3]
    assert count(events, 4, "number").sum((1, 2, 3)).tolist() == [2, 2, 2, 2]


# --- size ---------------------------------------------------------------------------------------------------


def slow_shrink(frame: np.ndarray, size: int) -> list[list[Fraction]]:
    """The mean over each new pixel's square, exactly."""
    side, step = len(frame), Fraction(len(frame), size)

    def overlap(new: int, old: int) -> Fraction:
        return max(Fraction(0), min((new + 1) * step, Fraction(old + 1)) - max(new * step, Fraction(old)))

    return [
        [
            sum(
                (overlap(i, y) * overlap(j, x) * int(frame[y, x]) for y in range(side) for x in range(side)),
                Fraction(0),
            )
            / step**2
            for j in range(size)
        ]
        for i in range(size)
    ]


@given(
    frame=st.integers(1, 9).flatmap(lambda n: arrays(np.float32, (n, n), elements=st.integers(0, 255))),
    size=st.integers(1, 9),
)
@settings(deadline=None)
def test_area_averaging_is_exact_in_whole_levels(frame: np.ndarray, size: int) -> None:
    scale = levels(len(frame), size)
    made = shrink(frame, size)
    expected = slow_shrink(frame, size)
    assert [[Fraction(int(v), scale) for v in row] for row in made] == expected
    assert (made == np.floor(made)).all()


def test_from_128_to_48_a_level_is_a_64th_and_large_counts_stay_exact() -> None:
    assert levels(128, 48) == 64 and levels(48, 48) == 1
    counts = np.zeros((1, 2, 128, 128), np.float32)
    counts[0, 1, 0, 0] = 2**24 - 1
    assert shrink(counts, 48)[0, 1, 0, 0] == 9 * (2**24 - 1)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 32767], "int16"), ([32768], "int32"), ([0.5], "float32"), ([2.0**31], "float32")],
)
def test_counts_are_kept_in_the_narrowest_type_that_holds_them(values: list[float], dtype: str) -> None:
    kept = narrow(np.array(values, np.float32))
    assert kept.dtype == dtype and np.array_equal(kept, np.array(values, np.float32))


# --- the published code's frames ----------------------------------------------------------------------------


def test_paper_frames_are_what_torchvision_makes_of_counts_as_the_published_code_calls_it() -> None:
    from torchvision import transforms

    counts = torch.randint(0, 7, (3, 2, 128, 128), generator=torch.Generator().manual_seed(0)).float()
    made = resize_as_published(counts.numpy(), 48)
    to_image, resize, to_tensor = transforms.ToPILImage(), transforms.Resize((48, 48)), transforms.ToTensor()
    for ours, frame in zip(made, counts, strict=True):
        assert np.array_equal(ours / np.float32(255), to_tensor(resize(to_image(frame))).numpy())


def test_paper_frames_wrap_around_and_true_counts_do_not() -> None:
    counts = np.full((1, 2, 4, 4), 256, np.float32)
    assert resize_as_published(counts, 4).max() == 0 and shrink(counts, 4).min() == 256
    assert resize_as_published(np.ones((1, 2, 4, 4)), 4).min() == 255


def test_a_frame_of_one_event_keeps_its_mass() -> None:
    frame = count(read_aedat2(aedat2([(5, 127, 0, 1)]), "FILE"), 1, "number")
    assert frame[0, 1, 0, 127] == 1 and frame.sum() == 1
    small = shrink(frame, 48) / levels(128, 48)
    assert math.isclose(small.sum() * (128 / 48) ** 2, 1) and small[0, 1, 0, 47] == small.max()
