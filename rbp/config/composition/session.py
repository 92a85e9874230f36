"""Hydra composes here: with this project's conf/, and a folder of one's own beside it."""

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

# Hydra lets errors of conversion through as they are: ValueError, OverflowError.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OverflowError)
CONFIG_NAME = "config"


@contextmanager
def composing() -> Iterator[None]:
    """Set Hydra up to compose inside the block; does nothing inside another such block."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    schema.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def compose(overrides: Sequence[str], name: str = CONFIG_NAME, with_hydra: bool = False) -> DictConfig:
    """Compose a configuration.

    Args:
        overrides: as on the command line of Hydra.
        name: of the primary file.
        with_hydra: whether to include the node `hydra`.

    Raises:
        COMPOSITION_ERRORS: Hydra's own, see `rbp.config.composition.messages.explain`.
    """
    with composing():
        return with_any_T(
            lambda: hydra_compose(name, overrides=list(overrides), return_hydra_config=with_hydra)
        )


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Return plain values without references, and without the node `hydra`.

    Raises:
        OmegaConfBaseException: A reference cannot be resolved.
    """
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    values.pop("hydra", None)
    return {str(key): value for key, value in values.items()}


class OwnFolder(SearchPathPlugin):
    """Adds the folder of `--config-dir` to those where Hydra looks for files.

    Attributes:
        path: the folder; None if there is none.
    """

    path: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra when it sets itself up."""
        if self.path is not None:
            search_path.append("command-line", f"file://{self.path}")


@contextmanager
def own_folder(folder: Path | None) -> Iterator[None]:
    """Let Hydra look for options of groups, and for primary configs, in this folder too inside the block."""
    Plugins.instance().register(OwnFolder)
    before, OwnFolder.path = OwnFolder.path, None if folder is None else folder.absolute()
    try:
        yield
    finally:
        OwnFolder.path = before
