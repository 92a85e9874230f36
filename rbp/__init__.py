"""Spiking neural networks, trained by BPTT or by Rate-based backpropagation, side by side."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbp import rate
    from rbp.rate import forward

__version__ = "0.2.0"
__all__ = ["__version__", "forward", "rate"]


def __getattr__(name: str) -> Any:
    """`rbp.forward` and `rbp.rate` load torch when they are asked for, so that `--help` needs no torch."""
    if name in ("forward", "rate"):
        rate = import_module("rbp.rate")
        return rate if name == "rate" else rate.forward
    raise AttributeError(f"module 'rbp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
