"""Spiking neural networks, trained by BPTT or by Rate-based backpropagation, side by side."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`rbp.forward` loads torch when it is asked for, so that `--help` needs no torch."""
    if name == "forward":
        from rbp.rate import forward

        return forward
    raise AttributeError(f"module 'rbp' has no attribute {name!r}")
