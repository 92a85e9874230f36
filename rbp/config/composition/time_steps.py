"""T=7: the group T takes any whole number, though conf/T/ has files for the usual ones only."""

import re
from collections.abc import Callable
from typing import TypeVar

from hydra.core.config_store import ConfigStore
from hydra.errors import MissingConfigException

Composed = TypeVar("Composed")


def with_any_T(compose: Callable[[], Composed]) -> Composed:
    """What compose returns, with every T that it asks for in Hydra's store.

    Whoever asks for it (the command line, a sweep, a data set's `override /T`), Hydra says which option is
    missing; it is stored, and the composition done again.
    """
    while True:
        try:
            return compose()
        except MissingConfigException as error:
            if not _store(str(error.missing_cfg_file)):
                raise


def _store(option: str) -> bool:
    """Store a missing option; False where it is none of T, or no whole number from 1."""
    found = re.fullmatch(r"T/([1-9][0-9]*)", option)
    if found is None:
        return False
    ConfigStore.instance().store(
        group="T", name=found[1], node={"T": int(found[1])}, package="_global_", provider="rbp"
    )
    return True
