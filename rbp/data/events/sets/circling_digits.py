"""Scikit-learn's handwritten digits moving in a circle: event data in which the order in time matters.

A digit flashes at eight places of a circle, one after the other, in front of a camera of SIDE x SIDE pixels.
It starts at a random place and moves clockwise or counterclockwise. With `direction` the class is the
direction. One frame of all flashes does not reveal it. Neither do two frames: they show one half of the
circle and then the other half, which both directions can produce. With `which_digit` the class is the digit,
for which the order does not matter.
"""

import math

import numpy as np
import torch
from torch import Tensor

from rbp.data.events.events import Events, count
from rbp.data.events.framing import Framing
from rbp.data.events.recordings import as_stored
from rbp.data.holdout import hold_out
from rbp.data.images import Images
from rbp.data.static.sklearn_digits import GREYS, read_digits
from rbp.seeds import stream

SIDE = 16  # side of the camera in pixels; the digits have 8
RADIUS = 4  # radius of the circle in pixels
FLASHES = 8  # flashes per recording
FLASH = 1000  # microseconds from one flash to the next
_MOST = 4  # events of the brightest pixel when a digit appears; as many when it disappears
_N_TEST = 360

Parts = tuple[Images, Images]


def direction(root: str, download: bool, framing: Framing) -> Parts:
    """Return 1,437 training and 360 test recordings that move by 45 degrees per flash, labelled by direction.

    Class 0 is clockwise, class 1 counterclockwise. The recordings are the same in every run; `split_seed`
    draws the test recordings, stratified by class. `root` and `download` are not used.

    Returns:
        (train, test) with frames [N, T, 2, size, size] and size from the framing.
    """
    return _made(framing, 45, by_direction=True)


def direction_90(root: str, download: bool, framing: Framing) -> Parts:
    """Return the same as `direction`, but at 90 degrees per flash, which makes two rounds."""
    return _made(framing, 90, by_direction=True)


def which_digit(root: str, download: bool, framing: Framing) -> Parts:
    """Return the recordings of `direction`, labelled by digit."""
    return _made(framing, 45, by_direction=False)


def _made(framing: Framing, degrees: int, by_direction: bool) -> Parts:
    images, digits = read_digits()
    random = stream(0, "circling_digits")
    turns = torch.rand(len(images), generator=random).argsort() % 2  # half of them in each direction
    phases = torch.randint(0, 360 // 45, (len(turns),), generator=random)
    frames = [
        as_stored(
            count(flashes(image, places(int(phase), int(turn), degrees)), framing.T, framing.by), framing
        )
        for image, phase, turn in zip(images.numpy(), phases, turns, strict=True)
    ]
    pixels = torch.from_numpy(np.stack([values for values, _ in frames]))
    labels = turns if by_direction else digits
    return hold_out(
        Images(pixels, labels, frames[0][1]), _N_TEST, stream(framing.split_seed, "circling_digits", "split")
    )


def places(phase: int, turn: int, degrees: int) -> Tensor:
    """Return the position (x, y) of each flash in whole pixels from the middle, int64 [FLASHES, 2].

    Args:
        phase: Position of the first flash, in eighths of a circle clockwise from the right.
        turn: 0 for clockwise as seen on screen (y points down), 1 for counterclockwise.
        degrees: Angle from one flash to the next.
    """
    way = 1 - 2 * turn
    angles = torch.tensor([math.radians(45 * phase + way * degrees * n) for n in range(FLASHES)])
    return (RADIUS * torch.stack([angles.cos(), angles.sin()], -1)).round().long()


def flashes(image: np.ndarray, where: Tensor) -> Events:
    """Return the events of an image that flashes at a sequence of places.

    A pixel fires when the digit appears (polarity 1) and again when it disappears (polarity 0), more often
    the brighter it is. So polarity does not reveal the movement from one place to the next.

    Args:
        image: The digit [8, 8].
        where: Positions from `places`, int64 [FLASHES, 2].
    """
    y, x = image.nonzero()
    times = np.ceil(image[y, x] * _MOST / GREYS).astype(np.int64)
    corner = (SIDE - len(image)) // 2
    t, cells = [], []
    for n, (right, down) in enumerate(where.tolist()):
        for later, polarity in enumerate((1, 0)):
            cell = (polarity * SIDE + y + corner + down) * SIDE + x + corner + right
            cells.append(cell.repeat(times))
            t.append(np.full(len(cells[-1]), n * FLASH + later))
    return Events(np.concatenate(t), np.concatenate(cells), SIDE)
