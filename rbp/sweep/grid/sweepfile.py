"""Read and check a named grid (sweeps/NAME.yaml), and turn it into overrides."""

import difflib
from collections import Counter
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rbp.config.composition.overrides import as_text, override_of
from rbp.config.composition.places import sweep_file, sweep_files, sweep_folders
from rbp.errors import ConfigError
from rbp.sweep.grid.combinations import may_fit

_KEYED = ("fixed", "grid")  # parts that hold keys with values


@dataclass
class SweepFile:
    """The content of a sweep file.

    Attributes:
        name: Run folders lie in runs/NAME; by default the name of the file.
        about: What the grid is meant to show.
        fixed: Key -> value, the same in all cells.
        grid: Key -> list of values; every combination is a cell.
        pairs: Groups of keys that change together, each key with its list of values.
        exclude: Rules for cells to leave out: key -> value or list of values.
        like: Name of another sweep, whose parts this one has wherever it does not say otherwise; "" for none.
    """

    name: str
    about: str = ""
    like: str = ""
    fixed: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    pairs: list[dict[str, list[Any]]] = field(default_factory=list)
    exclude: list[dict[str, Any]] = field(default_factory=list)


def load_sweep(name: str) -> SweepFile:
    """Read and check the sweep file of this name, or at this path if it ends in .yaml.

    Raises:
        ConfigError: There is no such file, or its content is wrong.
    """
    file = _file(name)
    content = _with_others(name, file)
    own = file.stem if name.endswith((".yaml", ".yml")) else name.replace("/", "_")
    sweep = SweepFile(**{"name": own, **content})
    _check(sweep, file)
    return sweep


def _with_others(name: str, file: Path) -> dict[str, Any]:
    """Return the content of a file with what it takes from the sweep that it is `like`, and so on."""
    names, chain = [name], [_read(file)]
    while (like := chain[-1].get("like")) is not None:
        if not isinstance(like, str):
            raise ConfigError(f"{file}: like={as_text(like)}: must be the name of another sweep")
        if like in names:
            raise ConfigError(f"{file}: like={like}: goes round in a circle: {' -> '.join([*names, like])}")
        try:
            found = _file(like, file.parent)
            chain.append(_read(found))
        except ConfigError as error:
            raise ConfigError(f"{file}: like={like}: {error}") from error
        names.append(like)
        file = found
    return reduce(_merged, reversed(chain))


def _merged(other: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of another sweep with one's own: a key stands where one's own file has it.

    The other's name is never one's own, and of its rules for cells to leave out stay those that can match.
    """
    said = {key for part in _KEYED for key in own.get(part, {})}
    values = [(key, [value]) for key, value in own.get("fixed", {}).items()]
    values += [(key, of) for key, of in own.get("grid", {}).items() if isinstance(of, list)]
    given = {str(key): override_of(str(key), *of).partition("=")[2] for key, of in values if of}
    other = {key: value for key, value in other.items() if key != "name"}
    if isinstance(rules := other.get("exclude"), list):
        other["exclude"] = [rule for rule in rules if may_fit(rule, given)]
    keyed = {
        part: {key: value for key, value in other.get(part, {}).items() if key not in said}
        | own.get(part, {})
        for part in _KEYED
    }
    return {**other, **own, **keyed}


def _read(file: Path) -> dict[str, Any]:
    """Return the content of a sweep file, whose parts may still be wrong."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    # ValueError covers text that is not UTF-8, OSError a file with just a number, OmegaConf's error keys such
    # as null.
    except (YAMLError, ValueError, OSError, OmegaConfBaseException) as error:
        raise ConfigError(f"{file}: not valid YAML: {str(error).strip()}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must hold keys, such as grid")
    allowed = list(SweepFile.__dataclass_fields__)
    if unknown := [str(key) for key in content if key not in allowed]:
        raise ConfigError(f"{file}: unknown {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    parts = {str(key): value for key, value in content.items() if value is not None}
    for part in _KEYED:
        if not isinstance(parts.get(part, {}), dict):
            raise ConfigError(f"{file}: {part} must hold keys, such as T: in a line of its own")
    return parts


def _file(name: str, beside: Path | None = None) -> Path:
    """Return the file of a sweep; a path is looked for beside another file too, if one is given."""
    if name.endswith((".yaml", ".yml")):
        places = [folder for folder in (beside, Path()) if folder is not None]
        files = dict.fromkeys((folder / Path(name).expanduser()).absolute() for folder in places)
        if (found := next(filter(Path.is_file, files), None)) is None:
            raise ConfigError(f"sweeps={name}: no such file: {' nor '.join(map(str, files))}")
        return found
    if (file := sweep_file(name)) is not None:
        return file
    known = sweep_files()
    near = [f"did you mean sweeps={n}? " for n in difflib.get_close_matches(name, known, 1)]
    folders = ", ".join(map(str, sweep_folders()))
    raise ConfigError(
        f"sweeps={name}: no such sweep; {''.join(near)}the sweeps in {folders} are {', '.join(known)}"
    )


def _check(sweep: SweepFile, file: Path) -> None:
    for part, keys in (("fixed", sweep.fixed), ("grid", sweep.grid)):
        for key in keys:
            if not isinstance(key, str):
                raise ConfigError(f"{file}: {part}.{as_text(key)}: must be the name of a key, such as T")
    for key in ("name", "about"):
        if isinstance(value := getattr(sweep, key), dict | list):
            raise ConfigError(f"{file}: {key}={as_text(value)}: must be text")
    for key, value in sweep.fixed.items():
        if isinstance(value, dict):
            raise ConfigError(f"{file}: fixed.{key}: must have a value; keys of a group as {key}.KEY: VALUE")
    for key, values in sweep.grid.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{file}: grid.{key}={values}: must be a list of values, such as [bptt, rate]")
    for part, lines in (("pairs", sweep.pairs), ("exclude", sweep.exclude)):
        if not isinstance(lines, list):
            raise ConfigError(f"{file}: {part} must be a list: lines that begin with - and hold keys")
    paired = [str(key) for pair in sweep.pairs if isinstance(pair, dict) for key in pair]
    counts = Counter([*sweep.fixed, *sweep.grid, *paired])
    if twice := [key for key, count in counts.items() if count > 1]:
        raise ConfigError(f"{file}: {', '.join(twice)}: more than once in fixed, grid and pairs; keep one")


def sweep_overrides(sweep: SweepFile, given: dict[str, str], fixed_only: bool) -> list[str]:
    """Return the overrides of a sweep, without the keys that the command line sets itself.

    Args:
        sweep: The sweep file.
        given: Key -> value, as typed on the command line; these take precedence.
        fixed_only: Whether to return only the values that all cells share, to show a config.
    """
    wanted = {"sweep.name": sweep.name, "sweep.about": sweep.about, **sweep.fixed}
    found = [override_of(key, value) for key, value in wanted.items() if key not in given]
    if fixed_only:
        return found
    found += [override_of(key, *values) for key, values in sweep.grid.items() if key not in given]
    # Drop rules that cannot match any cell once the command line has narrowed the grid: a rule without a
    # match would be refused.
    exclude = [rule for rule in sweep.exclude if may_fit(rule, given)]
    lists = {"pairs": [_without(pair, given) for pair in sweep.pairs], "exclude": exclude}
    return found + [
        f"hydra.sweeper.{part}={as_text([line for line in lines if line])}"
        for part, lines in lists.items()
        if lines and f"hydra.sweeper.{part}" not in given
    ]


def _without(pair: Any, given: dict[str, str]) -> Any:
    """Return a pair without the keys that the command line sets.

    If some rows of the pair have the values given there, only those rows are kept.
    """
    if not isinstance(pair, dict) or not all(isinstance(values, list) and values for values in pair.values()):
        return pair  # malformed; `combinations` reports it
    known = {key: value for key, value in given.items() if key in pair}
    if not known or len({len(values) for values in pair.values()}) > 1:
        return pair
    rows = [dict(zip(pair, row, strict=True)) for row in zip(*pair.values(), strict=True)]
    fitting = [row for row in rows if may_fit({key: [row[key]] for key in known}, known)]
    kept = [{key: value for key, value in row.items() if key not in known} for row in fitting or rows]
    distinct = [row for index, row in enumerate(kept) if row not in kept[:index]]
    return {key: [row[key] for row in distinct] for key in distinct[0]} if distinct[0] else {}
