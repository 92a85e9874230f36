"""Functions that a config group names by `_target_`, with the group's further keys as arguments."""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from rbp.errors import ConfigError

_NONE: Mapping[str, Any] = {}


def function_of(
    group: DictConfig,
    key: str,
    labels: Collection[str],
    *positional: str,
    unneeded: Mapping[str, Any] = _NONE,
) -> Callable[..., Any]:
    """Return the function of a config group, with the group's own keys bound as its keyword arguments.

    Args:
        group: Config group with a `_target_`.
        key: Name of the group, for error messages.
        labels: Keys of the group that only describe it, and are no arguments.
        positional: Names of the positional arguments that the caller will pass.
        unneeded: Keys with the value at which a function that does not take them is not given them.

    Raises:
        ConfigError: The function cannot be imported, or does not take these arguments.
    """
    try:
        function = get_method(group._target_)
    except Exception as error:  # Hydra wraps whatever the import raised
        raise ConfigError(
            f"{key}._target_={group._target_}: cannot be imported: {_in_a_line(error)}"
        ) from error
    values = OmegaConf.to_container(group, resolve=True)
    assert isinstance(values, dict)
    arguments = {str(name): value for name, value in values.items() if name not in labels}
    try:
        signature = inspect.signature(function)
        for name, value in unneeded.items():
            if arguments.get(name) == value and not _takes(signature, name):
                del arguments[name]
        signature.bind(*positional, **arguments)
    except (TypeError, ValueError) as error:  # ValueError: a C function without a signature
        raise ConfigError(f"{key}={group.name}: {group._target_} takes other keys: {error}") from error
    return functools.partial(function, **arguments)


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _takes(signature: inspect.Signature, name: str) -> bool:
    parameters = signature.parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
