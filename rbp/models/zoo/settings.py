"""What the settings of a model of the zoo may be: of the kind of the model's own value."""

from collections.abc import Sequence
from typing import Any

from rbp.errors import ConfigError

_CHOICES = {
    "images": ("small", "imagenet"),
    "cnf": ("ADD", "AND", "IAND"),
    "qka_type": ("token", "channel"),
}
_SMALLEST = {"embed_dims": 8}  # of which the first convolution may have an eighth


def checked(model: str, own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a model's settings: its own, with those given in their place.

    Raises:
        ConfigError: The model has no such setting, or it cannot be this.
    """
    for key, value in given.items():
        if key not in own:
            known = ", ".join(own) or "none"
            raise ConfigError(f"arch.{key} with arch.model={model}: no such setting; there are {known}")
        if allowed := _wanted(key, own[key], value):
            raise ConfigError(f"arch.{key}={value} with arch.model={model}: must be {allowed}")
    return own | given


def _wanted(key: str, own: Any, value: Any) -> str:
    """Return what is allowed instead of a value, else ""."""
    if key in _CHOICES:
        return "" if value in _CHOICES[key] else f"one of {', '.join(_CHOICES[key])}"
    if isinstance(own, int):
        smallest = _SMALLEST.get(key, 1)
        return "" if _is_count(value) and value >= smallest else f"a whole number, {smallest} or more"
    if isinstance(own, float):
        positive = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        return "" if positive else "a number above 0"
    if isinstance(own, tuple):
        counts = isinstance(value, Sequence) and len(value) == len(own) and all(map(_is_count, value))
        return "" if counts else f"a list of {len(own)} whole numbers, 1 or more"
    pools = isinstance(value, str) and len(value) == len(own) and set(value) <= {"0", "1"}
    return "" if pools else f"{len(own)} digits 0 or 1 in quotes, such as \"'0011'\""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
