"""One config for each point of a grid, quickly: groups are composed once, plain values set on that."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rbp.errors import ConfigError
from rbp.sweep.grid.messages import explain
from rbp.sweep.grid.places import is_group
from rbp.sweep.grid.time_steps import with_any_T

# Hydra lets errors of conversion through as they are: ValueError, OverflowError.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OverflowError)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """A config as plain values without references. Raises ConfigError where one cannot be resolved."""
    try:
        values = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, [])) from error
    assert isinstance(values, dict)
    values.pop("hydra", None)
    return {str(key): value for key, value in values.items()}


def compose_with(overrides: list[str]) -> DictConfig:
    """The config of these overrides, as Hydra composes it. Raises COMPOSITION_ERRORS."""
    return with_any_T(lambda: compose("config", overrides))


class Composer:
    """Composes once per choice of groups, at 76 ms each, and sets plain values on that.

    The same keys are set for every point of a grid, so that nothing of the point before is left.
    """

    def __init__(self, fixed: list[str]) -> None:
        self.fixed = fixed
        self.parser = OverridesParser.create()
        self.bases: dict[tuple[str, ...], _Base] = {}
        self.parsed: dict[str, Override] = {}

    def __call__(self, choices: Mapping[str, str]) -> tuple[DictConfig, dict[str, Any]]:
        """The config of one point, and its resolved values. Raises ConfigError."""
        lines = [f"{key}={value}" for key, value in choices.items()]
        structural = tuple(line for line in lines if is_group(line.partition("=")[0]) or line.startswith("+"))
        plain = [line for line in lines if line not in structural]
        try:
            overrides = [self._parse(line) for line in plain]
            if any(isinstance(override.value(), dict) for override in overrides):  # would be merged
                cfg = compose_with([*self.fixed, *lines])
                return cfg, resolved(cfg)
            if structural not in self.bases:
                self.bases[structural] = _Base(compose_with([*self.fixed, *structural]))
            try:
                return self.bases[structural].with_values(overrides)
            except OmegaConfBaseException:
                cfg = compose_with([*self.fixed, *lines])  # raises Hydra's own error, which says more
                return cfg, resolved(cfg)
        except COMPOSITION_ERRORS as error:
            raise ConfigError(explain(error, [*self.fixed, *lines])) from error

    def _parse(self, line: str) -> Override:
        if line not in self.parsed:
            self.parsed[line] = self.parser.parse_override(line)
        return self.parsed[line]


class _Base:
    """A composed config on which plain values are set.

    Its references are resolved anew only where they may read what is set: to parse them takes most of the
    time of a cell.
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
            value = OmegaConf.select(self.cfg, key)  # as the schema's type
            _set(values, key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
        return self.cfg, values


def _texts(value: Any) -> Iterator[str]:
    """Every text in plain values."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for part in parents:
        values = values[part]
    values[last] = value
