"""Read and write config.yaml, the frozen configuration of a run."""

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
        values = load_yaml(file.read_text())
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
