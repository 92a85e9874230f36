"""Supply the lists of `--help`: the groups with their options, the named grids, and every key."""

import contextlib
import functools
import textwrap
from collections.abc import Callable, Iterator

from omegaconf import OmegaConf

from rbp.config import reference
from rbp.config.composition.places import groups, options, sweep_files
from rbp.errors import ConfigError
from rbp.sweep.grid.sweepfile import load_sweep


@contextlib.contextmanager
def listed() -> Iterator[None]:
    """Have the lists as OmegaConf resolvers inside the block, for use in conf/hydra/help/rbp.yaml.

    Not for longer, since Hydra resolves them whenever it composes, and they read every sweep file.
    """
    lists = {
        "groups": _groups,
        "sweeps": _sweeps,
        "grid": reference.grid_help,
        "launcher_names": lambda: " | ".join(options("hydra/launcher")),
        "launchers": reference.launchers_help,
        "keys": reference.keys_help,
    }
    for name, make in lists.items():
        OmegaConf.register_new_resolver(f"rbp.{name}", functools.partial(_escaped, make), replace=True)
    try:
        yield
    finally:
        for name in lists:
            OmegaConf.clear_resolver(f"rbp.{name}")


def _escaped(make: Callable[[], str]) -> str:
    return make().replace("$", "$$")  # Hydra treats the help text as a string.Template


def _groups() -> str:
    lines = (f"  {group:<10} {' | '.join(options(group))}" for group in groups())
    return "\n".join(textwrap.fill(line, 110, subsequent_indent=" " * 13) for line in lines)


def _sweeps() -> str:
    lines = [f"  {name:<10} {_about(name)}" for name in sweep_files()]
    return "\n".join(textwrap.fill(line, 110, subsequent_indent=" " * 13) for line in lines)


def _about(name: str) -> str:
    try:
        return load_sweep(name).about
    except ConfigError as error:  # a damaged sweep file must not make --help fail
        return f"({str(error).splitlines()[0]})"
