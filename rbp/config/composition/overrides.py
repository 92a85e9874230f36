"""Write overrides in Hydra's syntax, and check those of a command line.

Options of a group that look like numbers are put in quotes, as in T='4'. Overrides that would bypass the
schema are refused.
"""

import re
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from rbp.config.composition.places import is_group
from rbp.config.launchers import GRID_FLAGS
from rbp.config.text import text
from rbp.errors import ConfigError

# Hydra's own settings that a user may change: where further options are found, how a grid is made, where it
# runs.
HYDRAS_OWN = ("hydra.searchpath", "hydra/launcher", "hydra.launcher.", "hydra.sweeper.")
# The one group of Hydra's settings that takes keys not in its file: any option of sbatch.
OPEN = "hydra.launcher.sbatch"
# Hydra would parse these as numbers, booleans and so on, and refuse them as the name of a group's option.
_NOT_A_NAME = re.compile(r"[-+]?[\d._]+(e[-+]?\d+)?|true|false|null|nan|[-+]?inf|", re.IGNORECASE)
# Hydra functions that may list the options of a group in a grid.
_SWEEPS = re.compile(r"(range|choice|glob|sort|shuffle)\(([^()]|\([^()]*\))*\)")


def is_hydras(override: str) -> bool:
    """Whether an override sets one of Hydra's settings, such as hydra/launcher, and not a key of a run."""
    return override.lstrip("+").startswith(("hydra.", "hydra/"))


def as_text(value: Any) -> str:
    """Return a value of a YAML file as it is written in an override, strings in quotes."""
    return text(value, _quoted)


def override_of(key: str, *values: Any) -> str:
    """Return the override `key=value`, or `key=a,b` for several values.

    Options of a group are put in quotes, since some look like numbers.
    """
    return f"{key}=" + ",".join(_option(v) if is_group(key) else as_text(v) for v in values)


def _option(value: Any) -> str:
    return _quoted(value if isinstance(value, str) else as_text(value))


def _quoted(value: str) -> str:
    return QuotedString(value, Quote.single).with_quotes()


def check(argument: str) -> str:
    """Convert an argument of the command line to an override for Hydra.

    For instance, T=4 becomes T='4', and wait=false becomes hydra.sweeper.wait=false.

    Raises:
        ConfigError: The argument cannot be read or would bypass the schema.
    """
    key, equals, value = argument.partition("=")
    if key in GRID_FLAGS and equals:
        return f"hydra.sweeper.{argument}"
    if key.lstrip("+") == OPEN and not value.startswith("{"):
        raise ConfigError(f"{argument}: must be keys with values, as in {OPEN}={{exclude: node7}}")
    if key.lstrip("+") in ("hydra.launcher._target_", "hydra.sweeper._target_"):
        raise ConfigError(
            f"{argument}: is chosen by {key.lstrip('+').split('.')[1]}'s name: hydra/launcher=NAME"
        )
    if key.lstrip("+").startswith("hydra.launcher.") and "," in value and value[0] not in "[{'\"":
        value = _quoted(value)  # there is one launcher, so that a comma makes no grid: partition=gpu,long
    if key.lstrip("+").startswith(OPEN):
        return f"++{key.lstrip('+')}={value}" if equals else f"++{argument.lstrip('+')}"
    if key.startswith("~"):
        raise ConfigError(f"{argument}: keys cannot be left out")
    if key == "hydra.mode":
        raise ConfigError(f"{argument}: for a grid add -m")
    if key.lstrip("+").startswith(("hydra.", "hydra/")) and not key.startswith(HYDRAS_OWN):
        raise ConfigError(
            f"{argument}: Hydra's own settings are fixed, but for hydra/launcher, hydra.launcher.KEY, "
            "hydra.sweeper.KEY and hydra.searchpath"
        )
    if key.lstrip("+").startswith("hydra.launcher."):
        return f"{key}{equals}{value}"
    if equals and not key.strip("+ "):
        raise ConfigError(f"{argument}: cannot be read; write key=value")
    if not equals or not is_group(key):
        return argument
    if key.startswith("+"):
        raise ConfigError(
            f"{argument}: write {key.lstrip('+')}={value}; every group has one choice, and no +"
        )
    if value.startswith(("[", "{")):
        raise ConfigError(f"{argument}: choose one option, or for a grid several with -m, as in -m T=2,4")
    if "(" in value:  # a function such as range(1,5); its values are quoted once they are known
        if not _SWEEPS.fullmatch(value):
            raise ConfigError(
                f"{argument}: write single options, as in {key}=2,4, or one range or choice, as in "
                f"{key}=range(1,5)"
            )
        return argument
    parts = [part.strip() for part in value.split(",")]
    return f"{key}=" + ",".join(f"'{part}'" if _NOT_A_NAME.fullmatch(part) else part for part in parts)


def in_quotes(argument: str) -> str | None:
    """Return an argument with its value in quotes, and in quotes for the shell; None if that would not help.

    For instance, runs_dir=a(1) becomes "runs_dir='a(1)'", and setup=[A=1,b] becomes "setup=['A=1','b']".
    """
    key, equals, value = argument.partition("=")
    if not key or not equals or value.startswith(("{", "(")):
        return None
    if value.startswith("[") and value.endswith("]"):
        if set(value[1:-1]) & set("[](){}'\""):  # commas within these do not separate items
            return None
        items = (item.strip() for item in value[1:-1].split(","))
        written = f"{key}=[{','.join(_quoted(item) for item in items)}]"
    else:
        quote = Quote.double if "'" in value else Quote.single
        written = f"{key}={QuotedString(value, quote).with_quotes()}"
    try:
        OverridesParser.create().parse_override(written)
    except HydraException:
        return None
    for character in '\\"$`':  # which the shell reads within double quotes
        written = written.replace(character, f"\\{character}")
    return f'"{written}"'
