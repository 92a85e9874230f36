"""Compose overrides into frozen configs; all cells of a grid are composed and checked before any runs."""

import math
import os
import random
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rbp.config.composition.messages import explain
from rbp.config.composition.places import is_group, natural, option_file, options
from rbp.config.composition.session import COMPOSITION_ERRORS, PRIMARY, compose, composing, resolved
from rbp.config.dotted import find, put
from rbp.config.schema import PATHS
from rbp.config.validate import validate
from rbp.errors import ConfigError
from rbp.sweep.grid.cell import Cell
from rbp.sweep.grid.combinations import Choices, Exclusions, combinations
from rbp.sweep.grid.composer import Composer
from rbp.sweep.grid.slurm_values import as_written

QUOTES = "'\""


def freeze(cfg: DictConfig) -> DictConfig:
    """Return a checked, read-only copy of a config, without interpolations and without Hydra's settings.

    Raises:
        ConfigError: The config has problems.
    """
    return settle(cfg).cfg


def settle(cfg: DictConfig) -> Cell:
    """Check a composed config and return it as a cell.

    Raises:
        ConfigError: The config has problems.
    """
    try:
        values = resolved(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, [])) from error
    validate(cfg, values)
    _settle_words(values)
    return Cell(values)


def compose_cell(overrides: list[str], config_name: str = PRIMARY) -> Cell:
    """Compose and check the single run of a command line.

    Args:
        overrides: Overrides in Hydra's syntax.
        config_name: Name of the primary config.

    Raises:
        ConfigError: An override is wrong, or the config has problems.
    """
    try:
        with composing():
            return settle(compose(overrides, config_name))
    except COMPOSITION_ERRORS as error:
        raise ConfigError(explain(error, overrides)) from error


class HydraSettings(NamedTuple):
    """Settings of a grid from the config node `hydra`.

    Attributes:
        sweeper: The values of hydra.sweeper.
        launcher: The values of hydra.launcher.
        launcher_option: The name of the chosen option of hydra/launcher.
    """

    sweeper: dict[str, Any]
    launcher: dict[str, Any]
    launcher_option: str


def compose_hydra(overrides: list[str], config_name: str = PRIMARY) -> HydraSettings:
    """Compose the settings that say how a grid is made and where it runs.

    Args:
        overrides: Overrides of Hydra's own settings.
        config_name: Name of the primary config.

    Raises:
        ConfigError: An override is wrong.
    """
    try:
        node = compose(overrides, config_name, with_hydra=True).hydra
        sweeper, launcher = (_plain(part) for part in (node.sweeper, node.launcher))
    except COMPOSITION_ERRORS as error:
        raise ConfigError(explain(error, overrides)) from error
    option = node.runtime.choices["hydra/launcher"]
    return HydraSettings(sweeper, as_written(launcher, option_file("hydra/launcher", option)), option)


def _plain(cfg: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(cfg, resolve=True)
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def compose_grid(
    overrides: list[str],
    pairs: Sequence[Any] = (),
    exclude: Sequence[Any] = (),
    config_name: str = PRIMARY,
) -> list[Cell]:
    """Compose and check the cells of a grid: the product of all swept keys and pairs, less exclusions.

    Cells are in the order written, and the last key changes fastest.

    Args:
        overrides: Overrides in Hydra's syntax; those with several values are swept.
        pairs: Groups of keys that change together.
        exclude: Rules for cells to leave out.
        config_name: Name of the primary config.

    Raises:
        ConfigError: Cells have problems, all of which the message lists; or an override, a pair or a rule is
            wrong; or two cells are the same run.
    """
    cells: list[Cell] = []
    problems: dict[str, int] = {}  # message -> number of cells with this problem
    excluded = Exclusions(exclude)
    with composing():
        fixed, swept = _split(overrides)
        composer = Composer(fixed, config_name)
        points = combinations(swept, pairs)
        for choices in points:
            try:
                cfg, values = composer(choices)
                if not excluded(values):
                    validate(cfg, values)
                    _settle_words(values)
                    cells.append(Cell(values, _shown(choices)))
            except ConfigError as error:
                for line in str(error).splitlines():
                    problems[line] = problems.get(line, 0) + 1
    if problems:
        raise ConfigError("\n".join(_in_how_many(line, n, len(points)) for line, n in problems.items()))
    excluded.refuse_unused()
    if not cells:
        raise ConfigError("hydra.sweeper.exclude: leaves no cell of the grid")
    _refuse_doubles(cells)
    return cells


def _settle_words(values: dict[str, Any]) -> None:
    """Replace grad_mode.segments=T by the number T, and ~ in paths by the home folder, in place.

    The values must have been validated.

    Raises:
        ConfigError: A path begins with the ~ of a user who is not there.
    """
    if values["grad_mode"]["segments"] == "T":
        values["grad_mode"]["segments"] = values["T"]
    for key in PATHS:
        put(values, key, _at_home(key, find(values, key)))


def _at_home(key: str, path: str | None) -> str | None:
    """Return a path with the home folder for ~, as the shell would write it."""
    if path is None or not path.startswith("~"):
        return path
    if (found := os.path.expanduser(path)).startswith("~"):
        raise ConfigError(
            f"{key}={path}: there is no user {path.partition('/')[0][1:]} here; write the path out"
        )
    return found


def _shown(choices: Choices) -> Choices:
    """Return the choices that tell a cell from others; a published accuracy only goes along with it."""
    return {key: value.strip("'\"") for key, value in choices.items() if key != "sweep.published"}


def _split(overrides: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the overrides that all cells share, and the values of each swept key as written.

    If a key occurs several times, the last override counts.
    """
    fixed: dict[str, str] = {}
    swept: dict[str, list[str]] = {}
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except COMPOSITION_ERRORS as error:
        raise ConfigError(explain(error, overrides)) from error
    for override in parsed:
        key = override.get_key_element()
        fixed.pop(key, None)
        swept.pop(key, None)
        if isinstance(pattern := override.value(), Glob):
            swept[key] = _matching(key, pattern, str(override.input_line))
        elif not override.is_sweep_override():
            fixed[key] = str(override.input_line)
        elif override.is_discrete_sweep():
            swept[key] = _values(key, override)
            if not swept[key]:
                raise ConfigError(f"{override.input_line}: has no values")
        else:
            raise ConfigError(f"{override.input_line}: a grid needs single values, such as {key}=1,2")
    return list(fixed.values()), swept


def _values(key: str, override: Override) -> list[str]:
    """Return the values of a swept key with ranges expanded, and options of a group in quotes.

    The quotes are needed because some options look like numbers.
    """
    swept = override.value()
    if isinstance(swept, RangeSweep):
        values = _of_range(key, override, swept)
    else:
        values = list(override.sweep_string_iterator())
    return [f"'{value.strip(QUOTES)}'" for value in values] if is_group(key) else values


def _of_range(key: str, override: Override, swept: RangeSweep) -> list[str]:
    """Return the values of a range, which may be sorted or shuffled.

    Hydra's own sorted ranges begin elsewhere if they are reversed, so the range is read again without that.
    """
    line = str(override.input_line)
    if inner := re.search(r"\brange\([^()]*\)", line):
        plain = OverridesParser.create().parse_override(f"{key}={inner[0]}").value()
        assert isinstance(plain, RangeSweep)
        swept, changed = plain, line.partition("=")[2].startswith(("sort(", "shuffle("))
    else:
        changed = False
    try:
        values = exact_range(swept)
    except (OverflowError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"{line}: must be a range of finite numbers, such as {key}=range(1,5)") from error
    if not changed:
        return values
    if "shuffle(" in line:
        return random.sample(values, len(values))
    return sorted(values, key=float, reverse=bool(re.search(r"reverse\s*=\s*true", line, re.IGNORECASE)))


def exact_range(swept: RangeSweep) -> list[str]:
    """Return the values of range(start, stop, step) in decimal numbers: 0.1, 0.2, 0.3 for range(0.1,0.4,0.1).

    Sums of floats would give 0.30000000000000004, and perhaps the end, which does not belong to a range.
    """
    start, stop, step = (Decimal(str(number)) for number in (swept.start, swept.stop, swept.step))
    count = max(0, math.ceil((stop - start) / step)) if step else 0
    values = [start + index * step for index in range(count)]
    whole = all(isinstance(number, int) for number in (swept.start, swept.stop, swept.step))
    return [str(int(value)) if whole else repr(float(value)) for value in values]


def _matching(key: str, pattern: Glob, line: str) -> list[str]:
    """Return the options of a group that match a pattern, in quotes, since some look like numbers."""
    if not is_group(key):
        raise ConfigError(f"{line}: a pattern picks options of a group; list the values, as in {key}=1,2")
    if not (names := pattern.filter(options(key))):
        raise ConfigError(f"{line}: matches no option of {key}; there are {', '.join(options(key))}")
    return [f"'{name}'" for name in natural(names)]


def _in_how_many(problem: str, count: int, total: int) -> str:
    return problem if count == total else f"{problem} ({count} of {total} cells)"


def _refuse_doubles(cells: list[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        if other := seen.get(cell.name):
            raise ConfigError(
                f"{other.label} and {cell.label} are the same run ({cell.name}): they differ only in what "
                "does not decide the result; leave one of them out (one text with a comma goes in quotes)"
            )
        seen[cell.name] = cell
