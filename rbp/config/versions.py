"""Configurations of earlier versions: what has moved or been added since, and how they are read.

A configuration stands for the same run in every version. So its identity is that of its form in version 0.1
(`first_form`), and a file of an earlier version gets what has been added since (`upgrade`).
"""

import json
from collections.abc import Mapping
from typing import Any

from rbp.config.allowed import is_whole
from rbp.config.dotted import find
from rbp.config.schema import keys
from rbp.config.text import short
from rbp.errors import ConfigError

# Of config.yaml, status.json and result.json. Version 0.1 wrote no number: its files are format 1.
FORMAT = 2

# Our own functions that have moved: all the names of one in a row, that of version 0.1 first, today's last.
MOVED: tuple[tuple[str, ...], ...] = (
    ("rbp.data.digits.digits", "rbp.data.static.digits.digits"),
    ("rbp.data.cifar.cifar10", "rbp.data.static.cifar.cifar10"),
    ("rbp.data.cifar.cifar100", "rbp.data.static.cifar.cifar100"),
    ("rbp.data.fashion_mnist.fashion_mnist", "rbp.data.static.fashion_mnist.fashion_mnist"),
    ("rbp.data.cifar10_dvs.cifar10_dvs", "rbp.data.events.sets.cifar10_dvs.cifar10_dvs"),
    ("rbp.data.dvs128_gesture.dvs128_gesture", "rbp.data.events.sets.dvs128_gesture.dvs128_gesture"),
    ("rbp.data.digits_dvs.digits_dvs", "rbp.data.events.sets.digits_dvs.digits_dvs"),
    *(
        (f"rbp.data.circling_digits.{name}", f"rbp.data.events.sets.circling_digits.{name}")
        for name in ("direction", "direction_90", "which_digit")
    ),
)


def upgrade(values: Mapping[str, Any], file: object = "config.yaml") -> dict[str, Any]:
    """The values of a config.yaml as today's schema has them, whichever version wrote them.

    Keys added since get the value that means what that version did; functions that moved, today's names.
    Raises ConfigError for a file of a newer version than this.
    """
    found = dict(values)
    refuse_newer(found.pop("format", 1), file)
    try:
        return _complete(_renamed(found, {name: row[-1] for row in MOVED for name in row}))
    except RecursionError as error:
        raise ConfigError(f"{file}: not the config of a run: a value contains itself") from error


def todays_target(name: str) -> str:
    """The name of a function of ours today, whichever version's name is given."""
    return next((row[-1] for row in MOVED if name in row), name)


def refuse_newer(number: Any, file: object) -> None:
    """Raise ConfigError for a format that this version does not know."""
    if not is_whole(number) or number < 1:
        raise ConfigError(f"{file}: format={short(number)}: must be a whole number from 1 to {FORMAT}")
    if number > FORMAT:
        raise ConfigError(
            f"{file}: format={number}: must be a whole number from 1 to {FORMAT}; "
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
    return _plain_again(_renamed(found, {name: row[0] for row in MOVED for name in row}))


def _complete(values: dict[str, Any]) -> dict[str, Any]:
    """Add in place what the schema has gained since; a value that has become a group is its name."""
    open_groups = set()  # of then: their further keys are arguments of a function, which takes no others
    for name, key in keys().items():
        parent, _, last = name.rpartition(".")
        inner = find(values, parent)
        if not isinstance(inner, dict) or parent in open_groups:
            continue
        if key.open and last in inner:
            open_groups.add(name)
        if key.children is not None and isinstance(inner.get(last), str):
            inner[last] = {"name": inner[last]}
        if key.is_later and last not in inner:
            inner[last] = key.before if key.children is None else {}
    return values


def _drop(values: dict[str, Any], name: str, unless_other_than: Any = None) -> None:
    """Leave out a key; of a later group, once it is empty."""
    parent, _, last = name.rpartition(".")
    inner, declared = find(values, parent), keys()[name]
    if not isinstance(inner, dict):
        return
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
    """A copy with every `_target_` by its other name, where it has one."""
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
    exact = is_whole(value) and abs(value) < 2**1000 and float(value) == value  # above 2^53 not all are
    return float(value) if exact else value
