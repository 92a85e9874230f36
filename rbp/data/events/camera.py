"""A simple event camera: a pixel fires when its log intensity has changed by a threshold since it last fired.

The model follows Lichtsteiner et al. 2008, without latency, refractory time or electronic noise.
"""

import torch
from torch import Tensor


def simulate_events(films: Tensor, threshold: float, dark: float) -> Tensor:
    """Return the events between successive pictures of films.

    Args:
        films: Intensities [N, S, H, W], at least 0: N films of S pictures each.
        threshold: Change of the natural logarithm of the intensity that makes a pixel fire.
        dark: Intensity added to every pixel, so that no logarithm is taken of 0.

    Returns:
        Signed event counts int16 [N, S-1, H, W], positive for brighter. A pixel that changes by several
        thresholds in one step fires that many times.
    """
    brightness = (films + dark).log()
    level = brightness[:, 0].clone()
    events = torch.zeros(films[:, 1:].shape, dtype=torch.int16)
    for step in range(1, films.shape[1]):
        fired = ((brightness[:, step] - level) / threshold).trunc()
        level += fired * threshold
        events[:, step - 1] = fired.to(torch.int16)
    return events
