"""Compose configurations with Hydra from conf/ and, if given, a folder of the user's own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rbp.config import schema
from rbp.config.composition.places import CONF
from rbp.config.composition.time_steps import with_any_T

# Hydra does not wrap conversion errors: ValueError, OverflowError.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OverflowError)
CONFIG_NAME = "config"


@contextmanager
def composing() -> Iterator[None]:
    """Set Hydra up so that the block can compose. Nested blocks reuse the outer set-up."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    schema.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def compose(overrides: Sequence[str], name: str = CONFIG_NAME, with_hydra: bool = False) -> DictConfig:
    """Compose a configuration.

    Args:
        overrides: Overrides in Hydra's syntax.
        name: Name of the primary config file, without .yaml.
        with_hydra: Whether to include the node `hydra`.

    Raises:
        COMPOSITION_ERRORS: Composition failed; `rbp.config.composition.messages.explain` makes the error
            readable.
    """
    with composing():
        return with_any_T(
            lambda: hydra_compose(name, overrides=list(overrides), return_hydra_config=with_hydra)
        )


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Return a config as plain values, with interpolations resolved and without the node `hydra`.

    Raises:
        OmegaConfBaseException: An interpolation cannot be resolved.
    """
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    values.pop("hydra", None)
    return {str(key): value for key, value in values.items()}


class OwnFolder(SearchPathPlugin):
    """A Hydra plugin that adds the folder of `--config-dir` to Hydra's search path.

    Attributes:
        path: The folder to add; None adds nothing.
    """

    path: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder to the search path; Hydra calls this while it initializes."""
        if self.path is not None:
            search_path.append("command-line", f"file://{self.path}")


@contextmanager
def own_folder(folder: Path | None) -> Iterator[None]:
    """Add a folder to Hydra's search path inside the block, for group options and primary configs.

    Args:
        folder: The folder; None adds nothing.
    """
    Plugins.instance().register(OwnFolder)
    before, OwnFolder.path = OwnFolder.path, None if folder is None else folder.absolute()
    try:
        yield
    finally:
        OwnFolder.path = before
