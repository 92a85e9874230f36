"""Detect a running torch.autograd.Function, which cannot take pairs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

import torch


def custom_function() -> str | None:
    """Return the name of the torch.autograd.Function whose forward is running, or None.

    `Function.apply` goes past `__torch_function__` and sees a pair as a tensor that does not require grad. It
    would run forward without a graph and never call backward, so the gradient would be lost silently.
    """
    forwards = dict(_forwards(torch.autograd.Function))
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code in forwards:
            return forwards[frame.f_code]
        frame = frame.f_back
    return None


def _forwards(kind: type[Any]) -> Iterator[tuple[CodeType, str]]:
    """Yield the code of forward, and the name, of every subclass, however indirect."""
    for child in kind.__subclasses__():
        if isinstance(forward := getattr(vars(child).get("forward"), "__func__", None), FunctionType):
            yield forward.__code__, child.__name__
        yield from _forwards(child)
