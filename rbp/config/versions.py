"""Configurations of earlier versions: what has moved or been added since, and how they are read.

A configuration stands for the same run in every version. So its identity is that of its form in version 0.1
(`first_form`), and a file of an earlier version gets what has been added since (`upgrade`).
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from rbp.config.key import Key
from rbp.config.schema import Config, keys
from rbp.errors import ConfigError

# Of config.yaml, status.json and result.json. Version 0.1 wrote no number: its files are format 1.
FORMAT = 2

# Where our own functions were in version 0.1: name today -> name then.
MOVED: dict[str, str] = {}


def upgrade(values: Mapping[str, Any], file: object = "config.yaml") -> dict[str, Any]:
    """The values of a config.yaml as today's schema has them, whichever version wrote them.

    Keys added since get the value that means what that version did; functions that moved, today's names.
    Raises ConfigError for a file of a newer version than this.
    """
    found = dict(values)
    refuse_newer(found.pop("format", 1), file)
    today = {before: now for now, before in MOVED.items()}
    return _complete(_renamed(found, today), Config)


def todays_target(name: str) -> str:
    """The name of a function of ours today, whichever version's name is given."""
    return {before: now for now, before in MOVED.items()}.get(name, name)


def refuse_newer(number: Any, file: object) -> None:
    """Raise ConfigError for a format that this version does not know."""
    if not isinstance(number, int) or number > FORMAT:
        raise ConfigError(
            f"{file}: format={number}: must be a whole number up to {FORMAT}; "
            "a newer version of rbp wrote it: pip install --upgrade rbp-snn"
        )


def first_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a run's result, as version 0.1 would have written it.

    Keys added since are left out while they have the value that means what rbp did without them, and a group
    that was a plain value then is that value while nothing else is left in it. Numbers are floats, so
    lr=1 and lr=1.0 are one run.
    """
    found = _floats({key: value for key, value in values.items() if key != "format"})
    for name, key in reversed(keys().items()):  # what is in a group before the group itself
        if not key.decides:
            _drop(found, name)
        elif key.is_later:
            _drop(found, name, unless_other_than=_floats(key.before))
    return _plain_again(_renamed(found, MOVED))


def _complete(values: dict[str, Any], kind: type) -> dict[str, Any]:
    """Add the keys that the schema has gained since; a value that has become a group is its name."""
    for field in dataclasses.fields(kind):
        key: Key = field.metadata["key"]
        if key.children is None:
            if field.name not in values and key.is_later:
                values[field.name] = key.before
            continue
        inner = values.get(field.name, {} if key.is_later else None)
        if isinstance(inner, str):
            inner = {"name": inner}
        if isinstance(inner, dict) and not key.open:  # an open one's keys are arguments of its function
            values[field.name] = _complete(dict(inner), key.children)
        elif inner is not None:
            values[field.name] = inner
    return values


def _drop(values: dict[str, Any], name: str, unless_other_than: Any = None) -> None:
    """Leave out a key; of a later group, once it is empty."""
    *parents, last = name.split(".")
    inner: Any = values
    for part in parents:
        inner = inner.get(part)
        if not isinstance(inner, dict):
            return
    declared = keys()[name]
    if not declared.decides or inner.get(last) == {} or _same(inner.get(last), unless_other_than):
        inner.pop(last, None)


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)  # true is not 1 there


def _plain_again(values: dict[str, Any]) -> dict[str, Any]:
    """grad_mode: {name: rate} is rate, as it was before it could have keys of its own."""
    return {
        key: value["name"] if isinstance(value, dict) and value.keys() == {"name"} else value
        for key, value in values.items()
    }


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Every `_target_` by its other name, where it has one."""
    if not names:
        return value
    if isinstance(value, dict):
        return {
            key: names.get(item, item)
            if key == "_target_" and isinstance(item, str)
            else _renamed(item, names)
            for key, item in value.items()
        }
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


def _floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
