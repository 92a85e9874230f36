"""A hash of all code that a run's numbers depend on, so that results of other code can be recognised."""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp import __version__
from rbp.config.versions import current_target
from rbp.provenance.commits import commit_of
from rbp.provenance.imports import Closure, closure
from rbp.provenance.module_location import find, is_own, module_of

# Modules that every run depends on: the engine, training, the random streams.
ENGINE = ("rbp.rate", "rbp.train", "rbp.seeds")
# Modules that these import but no number depends on: config validation, messages, output files.
APART = frozenset(
    {
        "rbp",  # only its __init__
        "rbp.bench",
        "rbp.cli",
        "rbp.config",
        "rbp.data.stage",
        "rbp.alignment",
        "rbp.cores",
        "rbp.errors",
        "rbp.files",
        "rbp.locks",
        "rbp.terminal",
        "rbp.provenance",
        "rbp.rate.errors",
        "rbp.report",
        "rbp.runs",
        "rbp.sweep",
        "rbp.track",
        "rbp.train.telemetry.memory",
        "rbp.train.telemetry.display",
        "rbp.train.telemetry.record",
        "rbp.train.telemetry.progress",
    }
)


def code_version(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return the version of the code that a config runs, for its result.

    Third-party packages do not count, see `package_versions`.

    Args:
        cfg: A config, or its plain values.

    Returns:
        `version` of rbp; `targets`, the functions named by the config's `_target_`s; and `hash`, twelve
        hexadecimal digits over the syntax trees, without docstrings, of the engine, of the targets' modules,
        and of all that they import, including a lab's own packages.
    """
    targets = _targets_of(cfg)
    return {"version": __version__, "hash": _hash(targets), "targets": list(targets)}


def own_roots(configs: Iterable[DictConfig | Mapping[str, Any]]) -> dict[Path, frozenset[str]]:
    """Return the folders on the import path that hold a lab's own code, for the runs of some configs.

    rbp's own folder is left out.

    Returns:
        For each folder, the top-level packages and modules in it that the runs import.
    """
    targets = {target for cfg in configs for target in _targets_of(cfg)}
    tops = {name.partition(".")[0] for name in _closure(tuple(sorted(targets))).modules} - {"rbp"}
    found: dict[Path, set[str]] = {}
    for top in sorted(tops):
        if (place := find(top)) is not None:
            for path in place.folders or ([str(place.file)] if place.file else []):
                found.setdefault(Path(path).absolute().parent, set()).add(top)
    return {folder: frozenset(names) for folder, names in found.items()}


def git_commits(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return the git commit of rbp and of each package of a lab that a config's code imports.

    Returns:
        By top-level package, `commit` and `changed` (see `rbp.provenance.commits`), without packages that git
        does not track.
    """
    return _commits({name.partition(".")[0] for name in _closure(_targets_of(cfg)).modules})


def named_commits(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return `git_commits` of rbp and of those packages alone that a config itself names.

    No code is read for it: this takes milliseconds instead of a second.
    """
    tops = {target.partition(".")[0] for target in _targets_of(cfg)}
    return _commits({top for top in tops if is_own(top)})


def _commits(packages: set[str]) -> dict[str, Any]:
    tops = packages | {"rbp"}
    places = {top: place for top in sorted(tops) if (place := find(top)) is not None}
    found = {top: commit_of(place.file) for top, place in places.items() if place.file is not None}
    return {top: commit for top, commit in found.items() if commit is not None}


def package_versions(cfg: DictConfig | Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of the third-party packages that a config's code imports, by distribution name."""
    packages = _closure(_targets_of(cfg)).packages
    names = _distributions()
    found = {}
    for distribution in sorted({name for package in packages for name in names.get(package, ())}):
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions by import name; cached, since every cell of a sweep needs them.

    importlib's packages_distributions makes a path of every installed file, which takes ten times as long.
    """
    found: dict[str, list[str]] = {}
    for distribution in distributions():
        for name in _import_names(distribution):
            found.setdefault(name, []).append(distribution.metadata["Name"])
    return found


def _import_names(distribution: Distribution) -> set[str]:
    """Return the top-level names that a distribution says it has, or else those of its files."""
    if declared := distribution.read_text("top_level.txt"):
        return set(declared.split())
    files = (distribution.read_text("RECORD") or "").splitlines()
    tops = {file.partition(",")[0].partition("/")[0] for file in files}
    return {name for top in tops if (name := top.removesuffix(".py")).isidentifier()}


def why_stale(result: Mapping[str, Any]) -> str:
    """Return why a result is stale (computed by other code than the current one), or "" if it is not.

    Also returns "" if this cannot be known: for results of version 0.1, which hashed every file of the
    package, and if a target is not installed on this machine.
    """
    code = result.get("code")
    if not isinstance(code, Mapping) or not isinstance(code.get("targets"), list):
        return ""
    targets = tuple(current_target(str(target)) for target in code["targets"])
    if any(module_of(target) is None for target in targets) or (now := _hash(targets)) == code.get("hash"):
        return ""
    return f"computed by code {code.get('hash')}, now {now}"


def _targets_of(cfg: DictConfig | Mapping[str, Any]) -> tuple[str, ...]:
    """Return the `_target_`s of a config, sorted, each once."""
    values = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
    return tuple(sorted(set(_targets(values))))


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(target := value.get("_target_"), str):
            yield target
        for inner in value.values():
            yield from _targets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _targets(inner)


@functools.cache
def _hash(targets: tuple[str, ...]) -> str:
    """Return the hash over the fingerprints of all modules that a run of these targets depends on."""
    modules = _closure(targets).modules
    lines = [f"{name} {modules[name].fingerprint}" for name in sorted(modules)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


@functools.cache
def _closure(targets: tuple[str, ...]) -> Closure:
    """Return the modules and third-party packages that a run of these targets depends on."""
    modules = (module_of(target) for target in targets)
    return closure([*ENGINE, *(module for module in modules if module is not None)], APART)
