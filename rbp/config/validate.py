"""Check a composed configuration against the schema and report all problems, not just the first."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config.across import READ_ACROSS, cross_key_problems
from rbp.config.allowed import LARGEST
from rbp.config.dotted import ABSENT, find
from rbp.config.other_names import hint
from rbp.config.schema import Config, keys
from rbp.config.text import short
from rbp.errors import ConfigError


def validate(cfg: DictConfig, values: Any = None) -> None:
    """Raise ConfigError if a composed configuration has problems.

    The message lists every problem with its key, value and what is allowed. Arguments: see `problems`.
    """
    if found := problems(cfg, values):
        raise ConfigError("\n".join(found))


def problems(cfg: DictConfig, values: Any = None) -> list[str]:
    """Return every problem of a composed configuration, one line each.

    Nothing that depends on this machine is checked, such as devices and files.

    Args:
        cfg: The composed configuration.
        values: The same as resolved plain values. A caller that has them should pass them: resolving takes a
            third of the time to check a thousand cells.
    """
    values = OmegaConf.to_container(cfg, resolve=True) if values is None else values
    found = [
        f"{key}: no such key; {hint(key) or f'there are {known}'}" for key, known in _unknown(values, Config)
    ]
    large = [(key, value, limit) for key, value in _leaves(values) if (limit := _too_large(value))]
    tall = {key for key, _, _ in large}
    broken = large + [problem for problem in _not_allowed(values) if problem[0] not in tall]
    found += [f"{key}={short(value)}: must be {allowed}" for key, value, allowed in broken]
    # The rules between keys assume that each value they read is allowed by itself.
    sound = READ_ACROSS.isdisjoint(key for key, _, _ in broken)
    return found + (list(cross_key_problems(cfg)) if sound else [])


def _unknown(values: Any, schema: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield keys that the schema does not declare (added by +key=value), with the declared ones beside them.

    Open groups are skipped, since their options may have keys of their own.
    """
    types = {item.name: item.type for item in dataclasses.fields(schema)}
    for name, value in values.items():
        if name not in types:
            yield f"{prefix}{name}", ", ".join(types)
        elif isinstance(kind := types[name], type) and dataclasses.is_dataclass(kind):
            yield from _unknown(value, kind, f"{prefix}{name}.")


def _not_allowed(values: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and what is allowed, for values that the schema does not allow.

    A key that the chosen option does not have is skipped unless it is required.
    """
    for name, key in keys().items():
        if key.allowed is None:
            continue
        value = find(values, name, ABSENT)
        if value is ABSENT and not key.required:
            continue
        value = None if value is ABSENT else value
        if not key.allowed.holds(value):
            yield name, value, key.allowed.words


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every single value with its dotted key; list items have their index as the last part."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for name, value in items:
        if isinstance(value, dict | list):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _too_large(value: Any) -> str:
    """Return what is allowed if a number is too large for a tensor, else ""."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return "below 2^63"
    if isinstance(value, float) and LARGEST < abs(value) < math.inf:
        return f"at most {LARGEST:g}"
    return ""
