"""Turn errors of Hydra and OmegaConf into one readable message: the key, the value and what is allowed."""

import difflib
import re

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from rbp.config.composition.overrides import in_quotes
from rbp.config.composition.places import config_folders, is_group, natural, option_file
from rbp.config.composition.session import COMPOSITION_ERRORS, compose
from rbp.config.other_names import hint
from rbp.config.schema import keys

_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "text"}
_NOISE = re.compile(
    r"^(See https?://|To append to your|Set the env|\s*(full_key|object_type|reference_type)[:=]).*\n?",
    re.MULTILINE,
)


def explain(error: Exception, overrides: list[str]) -> str:
    """Return a message that says what is wrong with a composition.

    Known kinds of errors get a message of rbp's own; others keep Hydra's, without its hints.

    Args:
        error: The exception that Hydra or OmegaConf raised.
        overrides: The overrides of the composition.
    """
    message, cause = str(error), error.__cause__ or error
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        if group == "T":
            return f"T={option}: must be {keys()['T'].words}"
        return (
            f"{group}={option}: no such option of {group}; choose one of {', '.join(natural(error.options))}"
        )
    if found := re.match(r"Cannot find primary config '(.*?)'", message):
        folders = ", ".join(map(str, config_folders()))
        return f"--config-name {found[1]}: no file {found[1]}.yaml in {folders}; --config-dir adds a folder"
    if isinstance(error, OverrideParseException):
        argument = str(error.override).lstrip("+")
        if (written := in_quotes(argument)) is not None:
            return f"{argument}: cannot be read; put the value in quotes: {written}"
        return f"{argument}: cannot be read; write key=value, a list as [a,b], other text in quotes"
    if found := re.match(r"Ambiguous value for argument '(.*)'", message):
        return _several_values(found[1].replace("'", ""))
    if found := re.match(r"Sweep parameters '(.*)' requires --multirun", message):
        return _several_values(found[1])
    if found := re.match(r"Could not override '([^'=]+)", message):
        return _unknown_key(found[1], overrides)
    if found := re.search(r"Error merging override (.*)", message):
        return f"{found[1]}: {_wanted(str(cause), found[1].partition('=')[0])}"
    if key := getattr(cause, "full_key", None):
        return f"{key}: {_NOISE.sub('', str(cause)).strip()}"
    lines = message if cause is error or str(cause) in message else f"{message}\n{cause}"
    return _NOISE.sub("", lines).strip()


def _several_values(argument: str) -> str:
    grid = f"{argument}: several values make a grid: add -m"
    written = in_quotes(argument)
    if "(" in argument or written is None:
        return grid
    return f"{grid}; a list is written [a,b], and one text with a comma in quotes: {written}"


def _wanted(reason: str, key: str) -> str:
    if "is incompatible with type hint" in reason and key in keys():  # the key may have one of several types
        return f"must be {keys()[key].words}"
    if found := re.search(r"could not be converted to (\w+)", reason):
        return f"must be {_KINDS.get(found[1], found[1])}"
    if "not a valid bool" in reason:
        return "must be true or false"
    if "not a ListConfig" in reason:
        return "must be a list, such as [0.5,0.5]"
    if "not Optional" in reason:
        return "must not be null"
    if "subclass" in reason or "Cannot assign" in reason:
        return "is a group of keys: set those, as in trainer.epochs=3"
    return _NOISE.sub("", reason).strip()


def _unknown_key(key: str, overrides: list[str]) -> str:
    """Return a message that suggests keys for an unknown one: those of the same or a similar name."""
    known = _hydras_keys(key, overrides) or _known_keys(overrides)
    parent, _, last = key.rpartition(".")
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent]
    near = [k for k in known if k.rpartition(".")[2] == last]
    near += [f"{parent}.{s}".lstrip(".") for s in difflib.get_close_matches(last, siblings, 2)]
    near = near or difflib.get_close_matches(key, known, 2, 0.8)
    if near:
        near.sort(key=lambda k: -difflib.SequenceMatcher(None, k, key).ratio())
        return f"{key}: no such key; did you mean {' or '.join(dict.fromkeys(near[:3]))}?"
    if called := hint(key):
        return f"{key}: no such key; {called}"
    if not siblings and parent == "hydra.launcher":
        return f"{key}: the launcher that is chosen has no keys; add hydra/launcher=local or slurm"
    return f"{key}: no such key; {parent or 'the config'} has {', '.join(siblings)}"


def _hydras_keys(key: str, overrides: list[str]) -> list[str]:
    """Return the keys of hydra.launcher or hydra.sweeper if `key` belongs to one of them, else none."""
    if not (found := re.match(r"hydra\.(launcher|sweeper)\.", key)):
        return []
    chosen = dict(line.partition("=")[::2] for line in overrides)
    option = chosen.get(f"hydra/{found[1]}", {"launcher": "inline", "sweeper": "rbp"}[found[1]])
    if (file := option_file(f"hydra/{found[1]}", option)) is None:
        return []
    names = [str(name) for name in OmegaConf.load(file) if name != "_target_"]
    return [found[0].rstrip("."), *(f"{found[0]}{name}" for name in names)]


def _known_keys(overrides: list[str]) -> list[str]:
    """Return every key of the config, with the groups chosen as in `overrides` if those can be composed."""
    chosen = [override for override in overrides if is_group(override.partition("=")[0])]
    try:
        cfg = compose(chosen)
    except COMPOSITION_ERRORS:  # a choice is wrong too: fall back to the keys of the default choices
        cfg = compose([])
    return _flatten(cfg)


def _flatten(cfg: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for name in map(str, cfg):
        node = None if OmegaConf.is_interpolation(cfg, name) else cfg.get(name)
        keys.append(f"{prefix}{name}")
        keys += _flatten(node, f"{prefix}{name}.") if isinstance(node, DictConfig) else []
    return keys
