"""Functions with a backward of their own (torch.autograd.Function), which take no pairs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

import torch


def custom_function() -> str | None:
    """The name of the torch.autograd.Function that is being applied, if one is.

    To torch a pair among its arguments is no tensor: it would run forward without a graph and never call
    backward, and the gradient would be lost without a word.
    """
    forwards = dict(_forwards(torch.autograd.Function))
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code in forwards:
            return forwards[frame.f_code]
        frame = frame.f_back
    return None


def _forwards(kind: type[Any]) -> Iterator[tuple[CodeType, str]]:
    """The code of every function's forward that there is, with the function's name."""
    for child in kind.__subclasses__():
        if isinstance(forward := getattr(vars(child).get("forward"), "__func__", None), FunctionType):
            yield forward.__code__, child.__name__
        yield from _forwards(child)
