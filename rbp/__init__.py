"""Train spiking neural networks by BPTT or by Rate-based backpropagation, and compare the two.

Entry points: `rbp.forward` runs a network in rate mode in any training loop, and `rbp.rate` holds the rest of
that engine. `rbp.models.build` builds the network of a config. `rbp.cli.main` is the command line.

Packages: `config` (keys and checks), `data` (data sets), `models` (architectures and neurons), `rate` (the
engine), `train` (the training loop), `runs` (run folders), `sweep` (grids and launchers), `track`
(dashboards), `report` (comparison pages), `bench` (time and memory of a training step), `check` (self-test of
an installation), `provenance` (the code behind a result), `cli` (subcommands). Modules: `files` and `locks`
(safe file access), `output` (printing), `errors`, `seeds` (random streams), `cores` (CPU count), `targets`
(functions that a config names).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbp import cli, models, rate
    from rbp.rate import forward

__version__ = "0.2.0"
__all__ = ["__version__", "cli", "forward", "models", "rate"]


def __getattr__(name: str) -> Any:
    """Import an entry point on first access: `rbp.forward` needs torch, which `rbp --help` must not load."""
    if name == "forward":
        return import_module("rbp.rate").forward
    if name in __all__:
        return import_module(f"rbp.{name}")
    raise AttributeError(f"module 'rbp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
