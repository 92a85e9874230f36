"""Compose the configs of a grid quickly: once per choice of groups, with plain values set on the result."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rbp.config.composition.messages import explain
from rbp.config.composition.places import is_group, options, search_entries
from rbp.config.composition.session import COMPOSITION_ERRORS, PRIMARY, compose, resolved
from rbp.config.dotted import put
from rbp.errors import ConfigError


class Composer:
    """A composer of configs that reuses work between the points of a grid.

    Hydra composes once per choice of groups, at 76 ms each; plain values, and mostly T, are then set on a
    composed config. Every point of a grid sets the same keys, so that no value of the previous point remains.

    Args:
        fixed: Overrides that all points share.
        config_name: Name of the primary config.
    """

    def __init__(self, fixed: list[str], config_name: str = PRIMARY) -> None:
        self.fixed, self.config_name = fixed, config_name
        self.parser = OverridesParser.create()
        self.bases: dict[tuple[str, ...], _Base] = {}
        self.parsed: dict[str, Override] = {}

    def __call__(self, choices: Mapping[str, str]) -> tuple[DictConfig, dict[str, Any]]:
        """Return the config of one point and its resolved values.

        The config may be changed by the next call.

        Args:
            choices: Key -> its value, as written in an override.

        Raises:
            ConfigError: The point cannot be composed.
        """
        lines = [f"{key}={value}" for key, value in choices.items()]
        structural = tuple(f"{key}={value}" for key, value in choices.items() if _is_structural(key, value))
        plain = [line for line in lines if line not in structural]
        try:
            overrides = [self._parse(line) for line in plain]
            if any(isinstance(override.value(), dict) for override in overrides):
                # Setting a dictionary would merge it with that of the previous point.
                cfg = self._compose([*self.fixed, *lines])
                return cfg, resolved(cfg)
            if structural not in self.bases:
                self.bases[structural] = _Base(self._compose([*self.fixed, *structural]))
            try:
                return self.bases[structural].with_values(overrides)
            except OmegaConfBaseException:
                cfg = self._compose([*self.fixed, *lines])  # raises Hydra's error, which is more informative
                return cfg, resolved(cfg)
        except COMPOSITION_ERRORS as error:
            raise ConfigError(explain(error, [*self.fixed, *lines])) from error

    def _compose(self, overrides: list[str]) -> DictConfig:
        return compose(overrides, self.config_name)

    def _parse(self, line: str) -> Override:
        if line not in self.parsed:
            self.parsed[line] = self.parser.parse_override(line)
        return self.parsed[line]


def _is_structural(key: str, value: str) -> bool:
    """Whether a choice decides which files are composed, or adds a key, rather than setting a value.

    rbp's own options of T set the key T and nothing else; where the user has options, these may do more.
    """
    if key == "T" and not search_entries() and value.strip("'") in options("T"):
        return False
    return is_group(key) or key.startswith("+")


class _Base:
    """A composed config on which plain values are set.

    Interpolations are resolved again only if they may refer to a key that is set: parsing them takes most of
    the time per cell.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.references = " ".join(text for text in _texts(OmegaConf.to_container(cfg)) if "${" in text)
        self.values: dict[str, Any] | None = None

    def with_values(self, overrides: list[Override]) -> tuple[DictConfig, dict[str, Any]]:
        for override in overrides:
            OmegaConf.update(self.cfg, override.key_or_group, override.value())
        keys = [str(override.key_or_group) for override in overrides]
        if any(key.rpartition(".")[2] in self.references for key in keys):
            return self.cfg, resolved(self.cfg)
        if self.values is None:
            self.values = resolved(self.cfg)
        values = copy.deepcopy(self.values)
        for key in keys:
            value = OmegaConf.select(self.cfg, key)  # read back: OmegaConf converts to the schema's type
            put(values, key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
        return self.cfg, values


def _texts(value: Any) -> Iterator[str]:
    """Yield every string in nested plain values."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
