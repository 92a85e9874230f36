"""Nested values by dotted keys, such as trainer.epochs."""

from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = object()  # a default that no value is


def find(values: Any, key: str, default: Any = None) -> Any:
    """Return the value of a dotted key; the values themselves for "", `default` where there is none."""
    for part in key.split(".") if key else []:
        if not isinstance(values, Mapping) or part not in values:
            return default
        values = values[part]
    return values


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted key, whose parents are there."""
    *parents, last = key.split(".")
    for part in parents:
        values = values[part]
    values[last] = value


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key with its value; lists are values."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
