"""Spiking neural networks, trained by BPTT or by Rate-based backpropagation, side by side."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`rbp.forward` and `rbp.rate` load torch when they are asked for, so that `--help` needs no torch."""
    if name in ("forward", "rate"):
        rate = import_module("rbp.rate")
        return rate if name == "rate" else rate.forward
    raise AttributeError(f"module 'rbp' has no attribute {name!r}")
