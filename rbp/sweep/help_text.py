"""What `--help` lists: the groups with their options, and the named grids."""

import textwrap

from omegaconf import OmegaConf

from rbp.config.schema import SURROGATES
from rbp.errors import ConfigError
from rbp.sweep.places import groups, options, sweep_names
from rbp.sweep.sweepfile import load_sweep


def register() -> None:
    """Make the lists known to conf/hydra/help/rbp.yaml."""
    OmegaConf.register_new_resolver("rbp.groups", _groups, replace=True)
    OmegaConf.register_new_resolver("rbp.sweeps", _sweeps, replace=True)
    OmegaConf.register_new_resolver("rbp.surrogates", lambda: ", ".join(SURROGATES), replace=True)


def _groups() -> str:
    return "\n".join(f"  {group:<10} {' | '.join(options(group))}" for group in groups())


def _sweeps() -> str:
    lines = [f"  {name:<10} {_about(name)}" for name in sweep_names()]
    return "\n".join(textwrap.fill(line, 110, subsequent_indent=" " * 13) for line in lines)


def _about(name: str) -> str:
    try:
        return load_sweep(name).about
    except ConfigError as error:  # one that is damaged must not take the help away
        return f"({str(error).splitlines()[0]})"
