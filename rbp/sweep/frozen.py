"""The config that was frozen in a run's folder, read again and held against the schema."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rbp.config import Config
from rbp.errors import ConfigError
from rbp.runfolder import RunFolder, load_yaml
from rbp.validate import validate


def read_frozen(folder: Path) -> dict[str, Any]:
    """The values of a run's config.yaml. Raises ConfigError where it is gone, damaged or no run's config."""
    file = RunFolder(folder).config
    try:
        values = load_yaml(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: text that is not UTF-8
        raise ConfigError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
    try:
        cfg = OmegaConf.merge(OmegaConf.structured(Config), values)
        OmegaConf.to_container(cfg, throw_on_missing=True)
        validate(cfg, values)  # type: ignore[arg-type]
    except (OmegaConfBaseException, ConfigError, ValueError, TypeError, AttributeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{file}: not the config of a run: {reason}") from error
    return values
