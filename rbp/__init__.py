"""Train spiking neural networks by BPTT, Rate-based backpropagation, SLTT or OTTT, and compare them.

Entry points: `rbp.forward` runs a network in rate mode in any training loop, and `rbp.rate` holds the rest of
that engine. `rbp.backward` runs forward and backward of a training step in any gradient mode. `rbp.load`
returns the trained network of a run's folder, `rbp.models.build` a new one of a config. `rbp.runs(PATH)`
returns the runs below a folder as a pandas DataFrame. `rbp.cli.main` is the command line.

Packages: `config` (keys and checks), `data` (data sets), `models` (architectures and neurons), `rate` (the
engine), `gradients` (a step's backward in every gradient mode), `train` (the training loop), `runs` (run
folders), `sweep` (grids and launchers), `track` (dashboards), `report` (comparison pages), `bench` (time and
memory of a training step), `check` (self-test of an installation), `provenance` (the code behind a result),
`cli` (subcommands), `terminal` (what is printed). Modules: `files` and `locks` (safe file access), `errors`,
`seeds` (random streams), `cores` (CPU count), `garbage` (Python's collector), `targets` (functions that a
config names), `environment` (variables of the job that this process runs in), `working_directory` (imports
from it), `alignment` (words of the comparison of gradients). Files: `template` (what `rbp init` writes).
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbp import cli, models, rate
    from rbp.gradients import Step, backward
    from rbp.rate import forward
    from rbp.report.frame import frame as runs
    from rbp.train.load import load

__version__ = "0.2.0"
__all__ = ["Step", "__version__", "backward", "cli", "forward", "load", "models", "rate", "runs"]

# Entry points that are functions and what they return, with the module that defines each.
_FUNCTIONS = {
    "Step": "rbp.gradients",
    "backward": "rbp.gradients",
    "forward": "rbp.rate",
    "load": "rbp.train.load",
}


class _Runs(ModuleType):
    """The package `rbp.runs`, which can be called as well: `rbp.runs(PATH)` is a DataFrame."""

    def __call__(self, *paths: Any) -> Any:
        return import_module("rbp.report.frame").frame(*paths)


import_module("rbp.runs").__class__ = _Runs  # whoever imports it, and whenever; it imports nothing itself


def __getattr__(name: str) -> Any:
    """Import an entry point on first access: `rbp.forward` needs torch, which `rbp --help` must not load."""
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    if name in __all__:
        return import_module(f"rbp.{name}")
    raise AttributeError(f"module 'rbp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
