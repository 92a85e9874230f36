"""Let the group T take any whole number, as in T=7, although conf/T/ has files for common values only."""

import re
from collections.abc import Callable
from typing import TypeVar

from hydra.core.config_store import ConfigStore
from hydra.errors import MissingConfigException

Composed = TypeVar("Composed")


def with_any_T(compose: Callable[[], Composed]) -> Composed:
    """Call `compose` and return its result, adding every missing option of T to Hydra's config store.

    An option may be requested by the command line, a sweep or a data set's `override /T`. In each case
    Hydra's error names the missing option; it is stored, and the composition is repeated.
    """
    while True:
        try:
            return compose()
        except MissingConfigException as error:
            if not _store(str(error.missing_cfg_file)):
                raise


def _store(option: str) -> bool:
    """Store a missing option of T; return False if it is of another group or not a positive whole number."""
    found = re.fullmatch(r"T/([1-9][0-9]*)", option)
    if found is None:
        return False
    ConfigStore.instance().store(
        group="T", name=found[1], node={"T": int(found[1])}, package="_global_", provider="rbp"
    )
    return True
