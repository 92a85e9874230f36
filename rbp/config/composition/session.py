"""Compose configurations with Hydra from the user's folders and rbp's own conf/."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rbp.config import schema
from rbp.config.composition.places import CONF, search_entries
from rbp.config.composition.time_steps import with_any_T

# Hydra does not wrap conversion errors: ValueError, OverflowError.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OverflowError)
PRIMARY = "rbp_config"  # conf/config.yaml


@contextmanager
def composing() -> Iterator[None]:
    """Set Hydra up so that the block can compose. Nested blocks reuse the outer set-up."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@functools.cache
def register() -> None:
    """Make the schema, rbp's primary config and the user's folders known to Hydra, once per process.

    The primary config gets a name of its own, since a config.yaml of the user's would hide it.
    """
    schema.register()
    store = ConfigStore.instance()
    store.store(name=PRIMARY, node=OmegaConf.load(CONF / "config.yaml"), provider="rbp")
    Plugins.instance().register(UsersFolders)


class UsersFolders(SearchPathPlugin):
    """A Hydra plugin that puts the user's folders before rbp's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Prepend the folders to the search path; Hydra calls this while it initializes."""
        for entry in reversed(search_entries()):
            search_path.prepend("user", entry)


def compose(overrides: Sequence[str], name: str = PRIMARY, with_hydra: bool = False) -> DictConfig:
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
