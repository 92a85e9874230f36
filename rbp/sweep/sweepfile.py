"""Named grids: sweeps/NAME.yaml, read, checked and turned into overrides."""

import difflib
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf
from yaml import YAMLError

from rbp.errors import ConfigError
from rbp.sweep.places import SWEEPS, is_group, sweep_names


@dataclass
class SweepFile:
    """What a sweep file may hold."""

    name: str  # run folders lie in runs/NAME; the file's own name unless it says otherwise
    about: str = ""  # what the grid is to show
    fixed: dict[str, Any] = field(default_factory=dict)  # key: value, the same in all cells
    grid: dict[str, list[Any]] = field(default_factory=dict)  # key: values; every combination is a cell


def load_sweep(name: str) -> SweepFile:
    """The sweep file of this name; ConfigError says which there are, or what is wrong in it."""
    known = sweep_names()
    if name not in known:
        near = [f"did you mean sweeps={n}? " for n in difflib.get_close_matches(name, known, 1)]
        raise ConfigError(
            f"sweeps={name}: no such sweep; {''.join(near)}the sweeps in {SWEEPS} are {', '.join(known)}"
        )
    file = SWEEPS / f"{name}.yaml"
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must hold keys, such as grid")
    allowed = list(SweepFile.__dataclass_fields__)
    if unknown := [str(key) for key in content if key not in allowed]:
        raise ConfigError(f"{file}: unknown {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    found = {str(key): value for key, value in content.items() if value is not None}
    sweep = SweepFile(**{"name": name, **found})
    for part, keys in (("fixed", sweep.fixed), ("grid", sweep.grid)):
        if not isinstance(keys, dict):
            raise ConfigError(f"{file}: {part} must hold keys, such as T: in a line of its own")
    for key, values in sweep.grid.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{file}: grid.{key}={values}: must be a list of values, such as [bptt, rate]")
    return sweep


def fixed_overrides(sweep: SweepFile) -> dict[str, str]:
    """Key -> override, for what all cells share."""
    wanted = {"sweep.name": sweep.name, "sweep.about": sweep.about, **sweep.fixed}
    return {key: f"{key}={_as_text(value)}" for key, value in wanted.items()}


def grid_overrides(sweep: SweepFile) -> dict[str, str]:
    """Key -> override, for what differs between cells."""
    return {
        key: f"{key}={','.join(_quoted(v) if is_group(key) else _as_text(v) for v in values)}"
        for key, values in sweep.grid.items()
    }


def _as_text(value: Any) -> str:
    """A value of a YAML file as an override says it."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(_as_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_as_text(item)}" for key, item in value.items()) + "}"
    return _quoted(value)


def _quoted(value: Any) -> str:
    return QuotedString(str(value), Quote.single).with_quotes()
