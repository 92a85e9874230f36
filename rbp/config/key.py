"""How a key of a configuration is declared: once, as the field of a dataclass.

    epochs: int = key("passes over the training images", at_least(1))
    augment: Augment = group(Augment, "random changes of the training images")

The annotation is its type for Hydra; `keys` lists what was declared by dotted names.
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
    """What is known of a key beside its type.

    Attributes:
        about: one line, without its name.
        allowed: checked beyond the type.
        decides: a run's result depends on it, so that it counts for the run's identity.
        since: the version of rbp that brought it.
        before: where that is not the first version, the value that means what rbp did without the key.
        label: in a group with a `_target_`, it describes the option and is no argument of its function.
        required: must be there, in a group that may have keys of its own.
        children: of a group, the dataclass of its keys.
        open: of a group, may have keys of its own beside the declared ones.
        type: its annotation.
    """

    about: str
    allowed: Allowed | None = None
    decides: bool = True
    since: str = FIRST_VERSION
    before: Any = None
    label: bool = False
    required: bool = False
    children: type | None = None
    open: bool = False
    type: Any = None

    @property
    def is_later(self) -> bool:
        """Whether runs of the first version did without it."""
        return self.since != FIRST_VERSION

    @property
    def words(self) -> str:
        """What it may be, for people."""
        if self.allowed is not None:
            return self.allowed.words
        plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        kinds = get_args(self.type) if get_origin(self.type) is UnionType else (self.type,)
        null = "null or " if type(None) in kinds else ""
        return null + next((plain[kind] for kind in kinds if kind in plain), "keys with values")


def key(about: str, allowed: Allowed | None = None, *, default: Any = MISSING, **more: Any) -> Any:
    """A field for one value; its default is for keys that no YAML file has to name."""
    metadata = {"key": Key(about, allowed, **more)}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def group(children: type, about: str, *, open: bool = False, **more: Any) -> Any:
    """A field for a group of keys; open: each option may have keys of its own beside the declared ones."""
    metadata = {"key": Key(about, children=children, open=open, **more)}
    return dataclasses.field(default_factory=dict if open else children, metadata=metadata)


def keys(kind: type, prefix: str = "", decides: bool = True, since: str = FIRST_VERSION) -> dict[str, Key]:
    """Every declared key by its dotted name, groups before what is in them.

    What is in a group that decides nothing decides nothing; what is in a later group is later too.
    """
    found: dict[str, Key] = {}
    for name, declared in _declared(kind):
        here = dataclasses.replace(declared, decides=declared.decides and decides)
        if not here.is_later:
            here = dataclasses.replace(here, since=since)
        found[f"{prefix}{name}"] = here
        if here.children is not None:
            found |= keys(here.children, f"{prefix}{name}.", here.decides, here.since)
    return found


def _declared(kind: type) -> Iterator[tuple[str, Key]]:
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield field.name, dataclasses.replace(field.metadata["key"], type=types[field.name])


def defaults(kind: type) -> dict[str, Any]:
    """The default of every key that has one, by name."""
    found = {}
    for field in dataclasses.fields(kind):
        if field.default_factory is not NO_DEFAULT:
            found[field.name] = field.default_factory()
        elif field.default not in (NO_DEFAULT, MISSING):
            found[field.name] = field.default
    return found
