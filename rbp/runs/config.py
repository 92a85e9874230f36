"""Read and write config.yaml, the frozen configuration of a run."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rbp.config.schema import Config
from rbp.config.validate import validate
from rbp.config.versions import FORMAT, upgrade
from rbp.errors import ConfigError
from rbp.files import dump_yaml, load_yaml, write_bytes
from rbp.runs.folder import RunFolder


def write_config(file: Path, values: Mapping[str, Any]) -> None:
    """Write a run's configuration, together with the number of the file format."""
    write_bytes(file, dump_yaml({"format": FORMAT, **values}))


def read_config(file: Path) -> dict[str, Any]:
    """Return a frozen configuration, converted to the current schema.

    Raises:
        ConfigError: The file is missing or damaged, or a newer version wrote it.
    """
    try:
        values = load_yaml(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError covers text that is not UTF-8
        raise ConfigError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: not the config of a run: it holds no keys")
    return upgrade(values, file)


def read_frozen(folder: Path) -> dict[str, Any]:
    """Return the frozen configuration in a run's folder, checked against the schema.

    Raises:
        ConfigError: The file is missing or damaged, or is not the config of a run.
    """
    file = RunFolder(folder).config
    values = read_config(file)
    try:
        cfg = OmegaConf.merge(OmegaConf.structured(Config), values)
        OmegaConf.to_container(cfg, throw_on_missing=True)
        validate(cfg, values)  # type: ignore[arg-type]
    except (OmegaConfBaseException, ConfigError, ValueError, TypeError, AttributeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{file}: not the config of a run: {reason}") from error
    return values


def config_to_show(folder: Path) -> dict[str, Any]:
    """Return a run's configuration, to read from and not to modify; empty if it is missing or incomplete.

    Much faster than `read_config` for many runs of a sweep, since most parts of their files are equal.

    Raises:
        ValueError: A newer version wrote the file.
    """
    file = RunFolder(folder).config
    try:
        values = _load_in_parts(file.read_text("utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    if isinstance(values, dict):
        try:
            values = upgrade(values, Path(file.name))
        except ConfigError as error:
            raise ValueError(error) from error
    whole = isinstance(values, dict) and {"dataset", "arch", *_AXES} <= values.keys()
    return values if whole and all(isinstance(values.get(key, {}), dict) for key in _GROUPS) else {}


_AXES = ("T", "step_mode", "grad_mode", "seed")
_GROUPS = ("dataset", "arch", "neuron", "grad_mode", "loss", "optimizer", "trainer", "tracker", "sweep")


def _load_in_parts(text: str) -> Any:
    """Parse YAML by top-level keys, with a cache: the configs of a sweep differ in few of these keys."""
    parts = [_load_part(part) for part in re.split(r"(?m)^(?=[^\s#-])", text) if part.strip()]
    if all(isinstance(part, dict) for part in parts):
        return {key: value for part in parts for key, value in part.items()}
    return load_yaml(text)


@functools.lru_cache(maxsize=4096)
def _load_part(text: str) -> Any:
    try:
        return load_yaml(text)
    except yaml.YAMLError:  # not valid by itself, such as a reference to another part
        return None
