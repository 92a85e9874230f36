"""Read the input format of the published code: files N.pt, each with a pair (frames [T, 2, H, W], label)."""

import math
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rbp.data.archives import check_archive
from rbp.data.files import broken


def read_pair(content: bytes, classes: int, where: str) -> tuple[np.ndarray, int]:
    """Return event counts float32 [T, 2, side, side] and the label from the content of a .pt file.

    The file is loaded with weights_only=True, so that it cannot run code.

    Args:
        content: Bytes of the whole file.
        classes: Number of classes; labels go from 0 to classes - 1.
        where: Name of the file, for error messages.

    Raises:
        DataError: If the content is damaged or not such a pair.
    """
    check_archive(content, where)  # torch trusts the sizes that a damaged file claims
    try:
        held = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can be any instruction and raise anything
        reason = str(error).strip().split("\n")[0][:120]
        raise broken(where, f"cannot be loaded with weights_only=True: {reason}") from error
    if not isinstance(held, tuple | list) or len(held) != 2:
        raise broken(where, f"holds a {type(held).__name__}; must hold a pair (frames, label)")
    return _counts(held[0], len(content), where), _label(held[1], classes, where)


def _counts(frames: Any, n_bytes: int, where: str) -> np.ndarray:
    if not isinstance(frames, Tensor) or frames.dim() != 4 or frames.is_sparse or frames.is_complex():
        raise broken(where, f"has frames {_describe(frames)}; must be a tensor [T, 2, H, W]")
    T, polarities, height, width = frames.shape
    if polarities != 2 or height != width or T == 0 or height == 0:
        raise broken(where, f"has frames {list(frames.shape)}; must be [T, 2, side, side]")
    if math.prod(frames.shape) > n_bytes:  # a view that repeats a few bytes
        raise broken(where, f"has frames {list(frames.shape)} in {n_bytes} bytes")
    counts = frames.float()
    if not (torch.isfinite(counts).all() and counts.min() >= 0):
        raise broken(where, "has counts below 0 or not finite")
    return counts.contiguous().numpy()


def _label(label: Any, classes: int, where: str) -> int:
    number = label.item() if isinstance(label, Tensor) and label.numel() == 1 else label
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < classes:
        raise broken(
            where, f"has the label {_describe(label)}; must be a whole number from 0 to {classes - 1}"
        )
    return number


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"{value!r:.40}"
    return str(value.item()) if value.numel() == 1 else f"{value.dtype} {list(value.shape)}"
