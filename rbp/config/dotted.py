"""Access nested values by dotted keys, such as trainer.epochs."""

from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = object()  # sentinel to pass as `default`: unlike None, it can never be a value


def find(values: Any, key: str, default: Any = None) -> Any:
    """Return the value of a dotted key.

    Args:
        values: The nested values.
        key: The dotted key; "" stands for `values` as a whole.
        default: The value to return if the key does not exist.
    """
    for part in key.split(".") if key else []:
        if not isinstance(values, Mapping) or part not in values:
            return default
        values = values[part]
    return values


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted key, in place; its parents must exist."""
    *parents, last = key.split(".")
    for part in parents:
        values = values[part]
    values[last] = value


# Most values are such, and to ask whether one is a Mapping takes longer.
_PLAIN = frozenset({str, int, float, bool, type(None), list})


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key with its value. Mappings are descended into; lists count as values."""
    for name, value in values.items():
        if type(value) not in _PLAIN and isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
