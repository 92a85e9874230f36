"""Read configurations written by earlier versions, and keep the identity of a run the same in all versions.

`upgrade` adds to a file of an earlier version the keys introduced since, and renames functions that have
moved. `to_first_version` converts a configuration back to the form of version 0.1, from which the identity is
computed.
"""

import json
from collections.abc import Mapping
from typing import Any

from rbp.config.allowed import is_whole
from rbp.config.dotted import find
from rbp.config.schema import keys
from rbp.config.text import short
from rbp.errors import ConfigError

# Format number of config.yaml, status.json and result.json. Files of version 0.1 have no number: format 1.
FORMAT = 2

# Functions of rbp that have moved. Each row lists all names of one function: that of version 0.1 first, the
# current one last.
RENAMED_TARGETS: tuple[tuple[str, ...], ...] = (
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
    """Convert the values of a config.yaml of any earlier version to the current schema.

    Keys introduced since get the value that reproduces what the earlier version did. Functions that have
    moved get their current names.

    Args:
        values: The content of the file.
        file: The file's path, for messages.

    Raises:
        ConfigError: The file has a newer format than this version can read, or a value contains itself.
    """
    found = dict(values)
    refuse_newer(found.pop("format", 1), file)
    try:
        return _complete(_renamed(found, {name: row[-1] for row in RENAMED_TARGETS for name in row}))
    except RecursionError as error:
        raise ConfigError(f"{file}: not the config of a run: a value contains itself") from error


def current_target(name: str) -> str:
    """Return the current name of a function of rbp, given its name in any version; other names unchanged."""
    return next((row[-1] for row in RENAMED_TARGETS if name in row), name)


def refuse_newer(number: Any, file: object) -> None:
    """Raise ConfigError if a file's format number is invalid or newer than this version can read."""
    if not is_whole(number) or number < 1:
        raise ConfigError(f"{file}: format={short(number)}: must be a whole number from 1 to {FORMAT}")
    if number > FORMAT:
        raise ConfigError(
            f"{file}: format={number}: must be a whole number from 1 to {FORMAT}; "
            "a newer version of rbp wrote it: pip install --upgrade rbp-snn"
        )


def to_first_version(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that decide a run's result, in the form that version 0.1 would have written.

    A key introduced since is left out if its value reproduces what rbp did without it. A group that was a
    plain value in version 0.1 becomes that value again if nothing but its name is left. Numbers become
    floats, so that lr=1 and lr=1.0 are the same run.
    """
    found = _floats({key: value for key, value in values.items() if key != "format"})
    for name, key in reversed(keys().items()):  # the members of a group before the group itself
        if not key.affects_result:
            _drop(found, name)
        elif key.is_later:
            _drop(found, name, unless_other_than=_floats(key.before))
    return _plain_again(_renamed(found, {name: row[0] for row in RENAMED_TARGETS for name in row}))


def _complete(values: dict[str, Any]) -> dict[str, Any]:
    """Add, in place, the keys introduced since; a plain value that is a group today becomes {name: value}."""
    # Open groups that the file has: further keys in them are arguments of a function, so none may be added.
    open_groups = set()
    for name, key in keys().items():
        if not (key.open or key.children is not None or (key.is_later and not key.of_some)):
            continue
        parent, _, last = name.rpartition(".")
        inner = find(values, parent)
        if not isinstance(inner, dict) or parent in open_groups:
            continue
        if key.open and last in inner:
            open_groups.add(name)
        if key.children is not None and isinstance(inner.get(last), str):
            inner[last] = {"name": inner[last]}
        if key.is_later and last not in inner and not key.of_some:
            inner[last] = key.before if key.children is None else {}
    return values


def _drop(values: dict[str, Any], name: str, unless_other_than: Any = None) -> None:
    """Remove a key that decides nothing, is an empty group, or has the value `unless_other_than`."""
    parent, _, last = name.rpartition(".")
    inner, declared = find(values, parent), keys()[name]
    if not isinstance(inner, dict):
        return
    if not declared.affects_result or inner.get(last) == {} or _same(inner.get(last), unless_other_than):
        inner.pop(last, None)


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)  # == would equate True and 1


def _plain_again(values: dict[str, Any]) -> dict[str, Any]:
    """Replace a group that has only a name by that name: grad_mode: {name: rate} becomes grad_mode: rate."""
    return {
        key: value["name"] if isinstance(value, dict) and value.keys() == {"name"} else value
        for key, value in values.items()
    }


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return a copy with every `_target_` that is in `names` replaced by the name given there."""
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
    # Above 2^53 not every whole number is exact as a float.
    exact = is_whole(value) and abs(value) < 2**1000 and float(value) == value
    return float(value) if exact else value
