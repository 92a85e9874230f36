"""Declare the keys of a configuration, each once, as a field of a dataclass.

    epochs: int = key("passes over the training images", at_least(1))
    augment: Augment = group(Augment, "random changes of the training images")

Hydra takes a key's type from the annotation. `keys` returns all declared keys by their dotted names.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from rbp.config.allowed import Allowed

FIRST_VERSION = "0.1"


@dataclass(frozen=True)
class Key:
    """The declaration of a key or of a group of keys.

    Attributes:
        about: One line that explains the key, without its name.
        allowed: The condition on its value, beyond its type.
        decides: Whether the run's result depends on the key, so that it enters the run's identity.
        since: The version of rbp that introduced the key.
        before: For keys newer than version 0.1, the value that reproduces what rbp did without the key.
        label: In a group with a `_target_`: whether the key only describes the option, and is not an argument
            of its function.
        required: Whether the key must be present, in a group where other keys may be absent.
        of_some: Whether only some options of an open group have the key, so that none has it by default.
        children: For a group, the dataclass that declares its keys; None for a single value.
        open: For a group, whether an option may have further keys beside the declared ones.
        type: The annotation of the field.
    """

    about: str
    allowed: Allowed | None = None
    affects_result: bool = True
    since: str = FIRST_VERSION
    before: Any = None
    label: bool = False
    required: bool = False
    of_some: bool = False
    children: type | None = None
    open: bool = False
    type: Any = None

    @property
    def is_later(self) -> bool:
        """Whether the key was introduced after the first version."""
        return self.since != FIRST_VERSION

    @property
    def words(self) -> str:
        """The allowed values in words, for messages and documentation."""
        if self.allowed is not None:
            return self.allowed.words
        plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        kinds = get_args(self.type) if get_origin(self.type) is UnionType else (self.type,)
        null = "null or " if type(None) in kinds else ""
        return null + next((plain[kind] for kind in kinds if kind in plain), "keys with values")


def key(about: str, allowed: Allowed | None = None, *, default: Any = MISSING, **more: Any) -> Any:
    """Declare a dataclass field for a single value.

    Args:
        about: One line that explains the key, without its name.
        allowed: The condition on its value, beyond its type.
        default: The default, for keys that need not appear in a YAML file.
        more: Further attributes of `Key`.
    """
    metadata = {"key": Key(about, allowed, **more)}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def group(children: type, about: str, *, open: bool = False, **more: Any) -> Any:
    """Declare a dataclass field for a group of keys.

    Args:
        children: The dataclass that declares the group's keys.
        about: One line that explains the group, without its name.
        open: Whether an option may have further keys beside the declared ones.
        more: Further attributes of `Key`.
    """
    metadata = {"key": Key(about, children=children, open=open, **more)}
    return dataclasses.field(default_factory=dict if open else children, metadata=metadata)


def keys(
    kind: type, prefix: str = "", affects_result: bool = True, since: str = FIRST_VERSION
) -> dict[str, Key]:
    """Return every declared key by its dotted name, each group before its members.

    Members of a group that does not decide the result do not decide it either, and members of a group from a
    later version count as of that version.

    Args:
        kind: The dataclass that declares the keys.
        prefix: Prefix of the dotted names, such as "trainer.".
        decides: Whether the enclosing group decides the result.
        since: The version that introduced the enclosing group.
    """
    found: dict[str, Key] = {}
    for name, declared in _declared(kind):
        here = dataclasses.replace(declared, affects_result=declared.affects_result and affects_result)
        if not here.is_later:
            here = dataclasses.replace(here, since=since)
        found[f"{prefix}{name}"] = here
        if here.children is not None:
            found |= keys(here.children, f"{prefix}{name}.", here.affects_result, here.since)
    return found


def _declared(kind: type) -> Iterator[tuple[str, Key]]:
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield field.name, dataclasses.replace(field.metadata["key"], type=types[field.name])


def defaults(kind: type) -> dict[str, Any]:
    """Return the default of every key that has one, by name."""
    found = {}
    for field in dataclasses.fields(kind):
        if field.default_factory is not NO_DEFAULT:
            found[field.name] = field.default_factory()
        elif field.default not in (NO_DEFAULT, MISSING):
            found[field.name] = field.default
    return found
