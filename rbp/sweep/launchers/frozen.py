"""The config that was frozen in a run's folder, read again and held against the schema."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rbp.config.schema import Config
from rbp.config.validate import validate
from rbp.errors import ConfigError
from rbp.runs.config import read_config
from rbp.runs.folder import RunFolder


def read_frozen(folder: Path) -> dict[str, Any]:
    """The values of a run's config.yaml. Raises ConfigError where it is gone, damaged or no run's config."""
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
