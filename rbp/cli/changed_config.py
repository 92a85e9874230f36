"""Change a run's frozen config by KEY=VALUE for `rbp eval`, checked as keys are elsewhere."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rbp.config.across import ONLINE
from rbp.config.composition.messages import explain
from rbp.config.dotted import ABSENT, find, leaves
from rbp.config.schema import Config, keys
from rbp.config.text import short
from rbp.config.validate import validate
from rbp.errors import ConfigError

# Patterns of keys that an evaluation depends on, and of those among them that were settled in training: if
# other images were held out now, the validation accuracy would be one of images that were trained on.
_IN_EVALUATION = (
    r"T|step_mode|(dataset|arch|neuron)\..*"
    r"|trainer\.(device|precision|eval_batch_size|limit_batches|deterministic|threads|chunk|kernels)"
)
_IN_TRAINING = (
    r"dataset\.(name|augment\..*|recipe\..*|val_split|split_seed)|arch\.(name|init)"
    r"|neuron\.(name|init_tau|surrogate|alpha|detach_reset)"
)
_CHANGEABLE = (
    "T, step_mode, keys of dataset, arch and neuron that are not of training alone, and of trainer: device, "
    "precision, eval_batch_size, limit_batches, deterministic, threads, chunk, kernels"
)


Changes = dict[str, tuple[Any, Any]]  # dotted key -> (value before, value now)


def changed(values: Mapping[str, Any], overrides: Iterable[str]) -> tuple[dict[str, Any], Changes]:
    """Return a copy of a run's config with overrides applied, and what they changed.

    A key `T` of a group that has the run's T follows it, such as dataset.T of event data.

    Args:
        values: The run's frozen config.
        overrides: Overrides as on a command line, key=value.

    Returns:
        The config, and what differs from before.

    Raises:
        ConfigError: An override cannot be read, or its value is not allowed; its key does not exist, or does
            not matter in an evaluation.
    """
    cfg = OmegaConf.merge(OmegaConf.structured(Config), dict(values))
    assert isinstance(cfg, DictConfig)
    given = [_parsed(override) for override in overrides]
    for override in given:
        key = str(override.key_or_group)
        _refuse(key, override, values)
        _set(cfg, key, override)
    found: Any = OmegaConf.to_container(cfg)
    _let_T_follow(found, values["T"], {str(override.key_or_group) for override in given})
    validate(OmegaConf.create(found), found)
    return found, _differences(values, found)


def _set(cfg: DictConfig, key: str, override: Override) -> None:
    declared = keys().get(key)
    try:
        OmegaConf.update(cfg, key, override.value())
    except (OmegaConfBaseException, ValueError) as error:
        wanted = declared.words if declared else str(error).splitlines()[0]
        raise ConfigError(f"{override.input_line}: must be {wanted}") from error
    value = OmegaConf.select(cfg, key)
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    if declared and declared.allowed and not declared.allowed.holds(plain):
        raise ConfigError(f"{override.input_line}: must be {declared.words}")


def _parsed(override: str) -> Override:
    try:
        (parsed,) = OverridesParser.create().parse_overrides([override])
    except OverrideParseException as error:
        raise ConfigError(explain(error, [])) from error
    if parsed.is_sweep_override():
        raise ConfigError(f"{override}: one value at a time; a list is written [a,b]")
    if parsed.is_add() or parsed.is_force_add() or parsed.is_delete():
        raise ConfigError(f"{override}: keys of a run can be changed, not added or left out; write KEY=VALUE")
    return parsed


def _refuse(key: str, override: Override, values: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the key is one of the run's that matter in an evaluation."""
    present = find(values, key, ABSENT)
    if isinstance(present, Mapping):
        raise ConfigError(
            f"{override.input_line}: a run keeps its {key}; rbp train GROUP=OPTION ... eval_only=true "
            "checkpoint=PATH evaluates its weights with other choices"
        )
    if present is ABSENT:
        unknown = ConfigCompositionException(f"Could not override '{key}'.")
        groups = ("dataset", "arch", "neuron", "optimizer")
        raise ConfigError(explain(unknown, [f"{group}={values[group]['name']}" for group in groups]))
    if key == "checkpoint":
        raise ConfigError(f"{override.input_line}: --weights best or last says which of the run's")
    if re.fullmatch(_IN_TRAINING, key) or not re.fullmatch(_IN_EVALUATION, key):
        raise ConfigError(
            f"{override.input_line}: decides nothing in an evaluation, or was settled in training; what "
            f"can be changed is {_CHANGEABLE}"
        )


def _let_T_follow(values: dict[str, Any], before: int, given: set[str]) -> None:
    """Set keys that stood for the run's T to its new T, and the gradient mode to one that fits, in place."""
    for group in ("dataset", "arch", "neuron"):
        if values[group].get("T") == before and f"{group}.T" not in given:
            values[group]["T"] = values["T"]
    # An evaluation has no gradients: their mode must only fit T and the step mode.
    mode, T = values["grad_mode"], values["T"]
    if mode["segments"] > T:
        mode |= {"segments": 1, "coupled": True}
    if mode["name"] in ONLINE and (values["step_mode"] != "s" or (mode["backprop_steps"] or 0) >= T):
        mode |= {"name": "bptt", "backprop_steps": None, "rescale": False}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    flat = {key: value for key, value in leaves(after) if not key.startswith("grad_mode.")}
    pairs = {key: (find(before, key), value) for key, value in flat.items()}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def shown(changes: Changes) -> str:
    """Return changes as text, with the values before."""
    return ", ".join(f"{key}={short(new)} (was {short(old)})" for key, (old, new) in changes.items())
