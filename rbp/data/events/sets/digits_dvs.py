"""Scikit-learn's handwritten digits before an event camera: event data that need neither files nor network.

Each digit is filmed while the eye drifts over it in a straight line and trembles, as eyes do when they fixate
(N-MNIST, Orchard et al. 2015, did so with a real camera that moved). One frame of a whole recording is
smeared along the drift; in many frames the digit stays sharp.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from rbp.data.events.camera import watch
from rbp.data.events.events import Events, count
from rbp.data.events.framing import Framing
from rbp.data.events.recordings import as_stored
from rbp.data.holdout import hold_out
from rbp.data.images import Images
from rbp.seeds import stream

SIDE = 12  # pixels of the camera; the digits have 8
STEPS = 64  # of a recording
STEP = 1000  # microseconds
TREMBLES = 8  # in a recording
TREMOR, DRIFT = 0.75, 3.0  # pixels: radius of the tremor, length of the drift
THRESHOLD, DARK = 0.15, 0.1  # contrast of an event; intensity where there is no light, of 1
_GREYS = 16  # pixels go from 0 to this
_N_TEST = 360


def digits_dvs(root: str, download: bool, framing: Framing) -> tuple[Images, Images]:
    """1,437 training and 360 test recordings, frames [N, T, 2, size, size]; neither root nor download counts.

    The recordings are the same in every run; `split_seed` draws the test recordings, evenly by class.
    """
    bunch = load_digits()
    films = film(torch.from_numpy(bunch.images).float() / _GREYS, stream(0, "digits_dvs"))
    frames = [
        as_stored(count(events_of(signed), framing.T, framing.by), framing)
        for signed in watch(films, THRESHOLD, DARK).numpy()
    ]
    pixels = torch.from_numpy(np.stack([values for values, _ in frames]))
    labels = torch.from_numpy(bunch.target).long()
    return hold_out(
        Images(pixels, labels, frames[0][1]), _N_TEST, stream(framing.split_seed, "digits_dvs", "split")
    )


def film(images: Tensor, random: torch.Generator) -> Tensor:
    """What the camera sees of images [N, 8, 8] at STEPS + 1 instants: [N, STEPS + 1, SIDE, SIDE]."""
    margin = (SIDE - images.shape[-1]) // 2
    scene = F.pad(images, [margin] * 4)[:, None]
    return torch.stack([_shifted(scene, place) for place in path(len(images), random)], 1)


def path(n: int, random: torch.Generator) -> Tensor:
    """Where the eye is, in pixels (x, y) from the middle: [STEPS + 1, n, 2]. Each has its own direction."""
    time = torch.linspace(0, 1, STEPS + 1)[:, None]
    start, direction, phase = torch.rand(3, n, generator=random)
    drift = DRIFT * (time - 0.5) + (start - 0.5)
    turn = 2 * math.pi * (TREMBLES * time + phase)
    way = 2 * math.pi * direction
    return torch.stack([drift * way.cos() + TREMOR * turn.cos(), drift * way.sin() + TREMOR * turn.sin()], -1)


def _shifted(scene: Tensor, place: Tensor) -> Tensor:
    """The scene [n, 1, SIDE, SIDE] as seen from place [n, 2], between pixels by bilinear interpolation."""
    move = torch.eye(2, 3).repeat(len(scene), 1, 1)
    move[:, :, 2] = place * 2 / SIDE  # the grid goes from -1 to 1
    grid = F.affine_grid(move, list(scene.shape), align_corners=False)
    return F.grid_sample(scene, grid, align_corners=False)[:, 0]


def events_of(signed: np.ndarray) -> Events:
    """The events of one recording from their numbers by step and pixel, int16 [STEPS, SIDE, SIDE]."""
    step, y, x = signed.nonzero()
    times = np.abs(signed[step, y, x])
    cell = ((signed[step, y, x] > 0) * SIDE + y) * SIDE + x
    return Events((step * STEP).repeat(times), cell.repeat(times), SIDE)
