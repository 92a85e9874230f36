"""Scikit-learn's handwritten digits seen by a simulated event camera: event data without files or network.

Each digit is filmed while the camera drifts over it in a straight line and trembles, as eyes do during
fixation. (N-MNIST, Orchard et al. 2015, did this with a real moving camera.) A single frame of a whole
recording is smeared along the drift; in many frames the digit stays sharp.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rbp.data.events.camera import simulate_events
from rbp.data.events.events import Events, count
from rbp.data.events.framing import Framing
from rbp.data.events.recordings import as_stored
from rbp.data.holdout import hold_out
from rbp.data.images import Images
from rbp.data.static.sklearn_digits import GREYS, read_digits
from rbp.seeds import stream

SIDE = 12  # side of the camera in pixels; the digits have 8
STEPS = 64  # time steps per recording
STEP = 1000  # duration of a step in microseconds
TREMBLES = 8  # periods of the tremor per recording
TREMOR, DRIFT = 0.75, 3.0  # radius of the tremor and length of the drift, in pixels
THRESHOLD, DARK = (
    0.15,
    0.1,
)  # arguments of `simulate_events`: log contrast of an event, intensity added to each pixel
_N_TEST = 360


def digits_dvs(root: str, download: bool, framing: Framing) -> tuple[Images, Images]:
    """Return 1,437 training and 360 test recordings, labelled by digit.

    The recordings are the same in every run; `split_seed` draws the test recordings, stratified by class.
    `root` and `download` are not used.

    Returns:
        (train, test) with frames [N, T, 2, size, size].
    """
    images, labels = read_digits()
    films = film(images.float() / GREYS, stream(0, "digits_dvs"))
    frames = [
        as_stored(count(events_of(signed), framing.T, framing.by), framing)
        for signed in simulate_events(films, THRESHOLD, DARK).numpy()
    ]
    pixels = torch.from_numpy(np.stack([values for values, _ in frames]))
    return hold_out(
        Images(pixels, labels, frames[0][1]), _N_TEST, stream(framing.split_seed, "digits_dvs", "split")
    )


def film(images: Tensor, random: torch.Generator) -> Tensor:
    """Return what the camera sees of images [N, 8, 8] at STEPS + 1 instants: [N, STEPS + 1, SIDE, SIDE]."""
    margin = (SIDE - images.shape[-1]) // 2
    scene = F.pad(images, [margin] * 4)[:, None]
    return torch.stack([_shifted(scene, place) for place in path(len(images), random)], 1)


def path(n: int, random: torch.Generator) -> Tensor:
    """Return n random paths of the camera: (x, y) in pixels from the middle, [STEPS + 1, n, 2]."""
    time = torch.linspace(0, 1, STEPS + 1)[:, None]
    start, direction, phase = torch.rand(3, n, generator=random)
    drift = DRIFT * (time - 0.5) + (start - 0.5)
    turn = 2 * math.pi * (TREMBLES * time + phase)
    way = 2 * math.pi * direction
    return torch.stack([drift * way.cos() + TREMOR * turn.cos(), drift * way.sin() + TREMOR * turn.sin()], -1)


def _shifted(scene: Tensor, place: Tensor) -> Tensor:
    """Return scenes [n, 1, SIDE, SIDE] as seen from `place` [n, 2], with bilinear interpolation."""
    move = torch.eye(2, 3).repeat(len(scene), 1, 1)
    move[:, :, 2] = place * 2 / SIDE  # affine_grid's coordinates go from -1 to 1
    grid = F.affine_grid(move, list(scene.shape), align_corners=False)
    return F.grid_sample(scene, grid, align_corners=False)[:, 0]


def events_of(signed: np.ndarray) -> Events:
    """Return the events of one recording, given its signed counts by step and pixel [STEPS, SIDE, SIDE]."""
    step, y, x = signed.nonzero()
    times = np.abs(signed[step, y, x])
    cell = ((signed[step, y, x] > 0) * SIDE + y) * SIDE + x
    return Events((step * STEP).repeat(times), cell.repeat(times), SIDE)
