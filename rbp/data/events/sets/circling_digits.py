"""Scikit-learn's handwritten digits going round in a circle: event data on which order in time matters.

A digit flashes at eight places of a circle, one after the other, before a camera of SIDE x SIDE pixels. It
begins anywhere, and goes round clockwise or counterclockwise. With `direction` the class is which of the two.
All flashes in one frame show nothing of it, and two frames neither: half a circle and then the other half,
which either direction can give. With `which_digit` the class is the digit, which needs no order at all.
"""

import math

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from rbp.data.events.events import Events, count
from rbp.data.events.framing import Framing
from rbp.data.events.recordings import as_stored
from rbp.data.holdout import hold_out
from rbp.data.images import Images
from rbp.seeds import stream

SIDE = 16  # pixels of the camera; the digits have 8
RADIUS = 4  # pixels, of the circle
FLASHES = 8  # in a recording
FLASH = 1000  # microseconds from one to the next
_MOST = 4  # events of a pixel when a digit appears, and as many when it goes
_GREYS = 16  # pixels of a digit go from 0 to this
_N_TEST = 360

Parts = tuple[Images, Images]


def direction(root: str, download: bool, framing: Framing) -> Parts:
    """1,437 training and 360 test recordings at 45 degrees a flash: 0 is clockwise, 1 is counterclockwise.

    They are the same in every run; neither root nor download counts. `split_seed` draws the test recordings,
    evenly by class. Frames are [N, T, 2, SIDE, SIDE].
    """
    return _made(framing, 45, by_direction=True)


def direction_90(root: str, download: bool, framing: Framing) -> Parts:
    """As `direction`, at 90 degrees a flash: two rounds."""
    return _made(framing, 90, by_direction=True)


def which_digit(root: str, download: bool, framing: Framing) -> Parts:
    """The recordings of `direction` with the digit as their class."""
    return _made(framing, 45, by_direction=False)


def _made(framing: Framing, degrees: int, by_direction: bool) -> Parts:
    bunch = load_digits()
    random = stream(0, "circling_digits")
    turns = torch.rand(len(bunch.images), generator=random).argsort() % 2  # half of them each way
    phases = torch.randint(0, 360 // 45, (len(turns),), generator=random)
    frames = [
        as_stored(
            count(flashes(image, places(int(phase), int(turn), degrees)), framing.T, framing.by), framing
        )
        for image, phase, turn in zip(bunch.images, phases, turns, strict=True)
    ]
    pixels = torch.from_numpy(np.stack([values for values, _ in frames]))
    labels = turns if by_direction else torch.from_numpy(bunch.target).long()
    return hold_out(
        Images(pixels, labels, frames[0][1]), _N_TEST, stream(framing.split_seed, "circling_digits", "split")
    )


def places(phase: int, turn: int, degrees: int) -> Tensor:
    """Return where each flash is, (x, y) from the middle in whole pixels, int64 [FLASHES, 2].

    Args:
        phase: where the first one is, in eighths of a circle from the right, clockwise.
        turn: 0 for clockwise as one sees it (y points down), 1 for counterclockwise.
        degrees: from one flash to the next.
    """
    way = 1 - 2 * turn
    angles = torch.tensor([math.radians(45 * phase + way * degrees * n) for n in range(FLASHES)])
    return (RADIUS * torch.stack([angles.cos(), angles.sin()], -1)).round().long()


def flashes(image: np.ndarray, where: Tensor) -> Events:
    """Return the events of an image [8, 8] that flashes at each of these places [FLASHES, 2].

    A pixel fires as the digit appears (polarity 1) and as it goes (0), the more often the brighter it is. So
    polarity says nothing of the way from one place to the next.
    """
    y, x = image.nonzero()
    times = np.ceil(image[y, x] * _MOST / _GREYS).astype(np.int64)
    corner = (SIDE - len(image)) // 2
    t, cells = [], []
    for n, (right, down) in enumerate(where.tolist()):
        for later, polarity in enumerate((1, 0)):
            cell = (polarity * SIDE + y + corner + down) * SIDE + x + corner + right
            cells.append(cell.repeat(times))
            t.append(np.full(len(cells[-1]), n * FLASH + later))
    return Events(np.concatenate(t), np.concatenate(cells), SIDE)
