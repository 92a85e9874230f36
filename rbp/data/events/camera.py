"""A simple event camera: a pixel fires when its log intensity has moved by a threshold since it last fired.

After Lichtsteiner et al. 2008, without latency, refractory time or noise of the electronics.
"""

import torch
from torch import Tensor


def watch(films: Tensor, threshold: float, dark: float) -> Tensor:
    """Signed events int16 [N, S-1, H, W] between the S pictures of films [N, S, H, W], intensities from 0 on.

    threshold: contrast of an event, natural logarithm; dark: what is added to every intensity, since no pixel
    is ever quite dark. A pixel that moves by several thresholds at once fires as often.
    """
    brightness = (films + dark).log()
    level = brightness[:, 0].clone()
    events = torch.zeros(films[:, 1:].shape, dtype=torch.int16)
    for step in range(1, films.shape[1]):
        fired = ((brightness[:, step] - level) / threshold).trunc()
        level += fired * threshold
        events[:, step - 1] = fired.to(torch.int16)
    return events
