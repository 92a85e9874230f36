"""config.yaml: the configuration of a run, frozen in its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rbp.config.versions import FORMAT, upgrade
from rbp.errors import ConfigError
from rbp.files import dump_yaml, load_yaml, write_bytes


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
