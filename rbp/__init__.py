"""Spiking neural networks, trained by BPTT or by Rate-based backpropagation, side by side.

`rbp.forward` is the engine, usable in any training loop; `rbp.rate` what else it offers; `rbp.models.build`
makes the network of a config; `rbp.cli.main` is the command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbp import cli, models, rate
    from rbp.rate import forward

__version__ = "0.2.0"
__all__ = ["__version__", "cli", "forward", "models", "rate"]


def __getattr__(name: str) -> Any:
    """Loaded when they are asked for: `rbp.forward` needs torch, and `rbp --help` must not."""
    if name == "forward":
        return import_module("rbp.rate").forward
    if name in __all__:
        return import_module(f"rbp.{name}")
    raise AttributeError(f"module 'rbp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
