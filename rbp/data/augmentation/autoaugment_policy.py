"""The policy that AutoAugment found for CIFAR-10 (Cubuk et al. 2019, arXiv 1805.09501, tables 6 and 7).

An operation has ten levels of magnitude. The paper gives the strongest translation as 150 of 331 pixels.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

LEVELS = 10
# Sub-policies of two steps each: (operation, probability, level); level is None without a magnitude.
POLICY = (
    (("Invert", 0.1, None), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, None), ("Equalize", 0.9, None)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, None), ("Equalize", 0.5, None)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, None), ("AutoContrast", 0.4, None)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, None)),
    (("Equalize", 0.2, None), ("AutoContrast", 0.6, None)),
    (("Equalize", 0.2, None), ("Equalize", 0.6, None)),
    (("Color", 0.9, 9), ("Equalize", 0.6, None)),
    (("AutoContrast", 0.8, None), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, None)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, None), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, None), ("Invert", 0.1, None)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, None)),
)
# Magnitude at level 9 for images of H x W pixels.
_STRONGEST: dict[str, Callable[[int, int], float]] = {
    "ShearY": lambda H, W: 0.3,  # tangent of the angle
    "TranslateX": lambda H, W: 150 / 331 * W,  # pixels
    "TranslateY": lambda H, W: 150 / 331 * H,
    "Rotate": lambda H, W: 30.0,  # degrees
    **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), lambda H, W: 0.9),  # distance from 1
}


def magnitudes(name: str, H: int, W: int) -> tuple[Tensor, bool]:
    """Return the ten magnitudes of an operation, and whether its sign is random.

    Args:
        name: Name of the operation.
        H: Height of the images in pixels.
        W: Width of the images in pixels.

    Returns:
        The magnitudes [10], and whether the operation goes either way (left or right, darker or brighter).
    """
    levels = partial(torch.linspace, steps=LEVELS)
    if name in _STRONGEST:
        return levels(0.0, _STRONGEST[name](H, W)), True
    if name == "Posterize":  # number of bits to keep
        return 8 - (torch.arange(LEVELS) / ((LEVELS - 1) / 4)).round(), False
    if name == "Solarize":  # brightness in [0, 1] from which colours are inverted
        return levels(1.0, 0.0), False
    return torch.zeros(LEVELS), False
