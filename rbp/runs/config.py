"""config.yaml: the configuration of a run, frozen in its folder."""

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
    """Freeze a configuration in its run's folder, with the version of its format."""
    write_bytes(file, dump_yaml({"format": FORMAT, **values}))


def read_config(file: Path) -> dict[str, Any]:
    """A frozen configuration, as today's schema has it. Raises ConfigError where it is gone or damaged."""
    try:
        values = load_yaml(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: text that is not UTF-8
        raise ConfigError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: not the config of a run: it holds no keys")
    return upgrade(values, file)


def read_frozen(folder: Path) -> dict[str, Any]:
    """A run's frozen configuration, held against the schema.

    Raises ConfigError where it is gone, damaged or no run's config.
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
