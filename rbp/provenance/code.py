"""The code of a run: a hash of all that its numbers depend on, so that a result of other code can be told."""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp import __version__
from rbp.config.versions import todays_target
from rbp.provenance.finding import module_of
from rbp.provenance.imports import Closure, closure

# What every run stands on: the engine, training, the random streams.
ENGINE = ("rbp.rate", "rbp.train", "rbp.seeds")
# What they import, and no number depends on: what a run may be, what it says, where it writes.
APART = frozenset(
    {
        "rbp",  # its __init__ only
        "rbp.bench",
        "rbp.cli",
        "rbp.config",
        "rbp.data.stage",
        "rbp.cores",
        "rbp.errors",
        "rbp.files",
        "rbp.locks",
        "rbp.output",
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
    """The code that a configuration runs, for its result.

    `version` of rbp; `targets`, the functions that its `_target_`s name; `hash`, twelve hexadecimal digits
    over the syntax trees, without docstrings, of the engine, of the targets' modules and of all that they
    import, a lab's own packages too. Third-party packages do not count: see `package_versions`.
    """
    targets = _targets_of(cfg)
    return {"version": __version__, "hash": _hash(targets), "targets": list(targets)}


def package_versions(cfg: DictConfig | Mapping[str, Any]) -> dict[str, str]:
    """The versions of the third-party packages that a configuration's code imports, by their names."""
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
    """By import names; read once, as every cell of a sweep asks."""
    return packages_distributions()


def why_stale(result: Mapping[str, Any]) -> str:
    """Why a result was computed by other code than that at hand; "" where it was not.

    Also "" where nobody can say: for results of version 0.1, which hashed every file of the package, and
    where a target is not on this machine.
    """
    code = result.get("code")
    if not isinstance(code, Mapping) or not isinstance(code.get("targets"), list):
        return ""
    targets = tuple(todays_target(str(target)) for target in code["targets"])
    if any(module_of(target) is None for target in targets) or (now := _hash(targets)) == code.get("hash"):
        return ""
    return f"computed by code {code.get('hash')}, now {now}"


def _targets_of(cfg: DictConfig | Mapping[str, Any]) -> tuple[str, ...]:
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
    modules = _closure(targets).modules
    lines = [f"{name} {modules[name].fingerprint}" for name in sorted(modules)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


@functools.cache
def _closure(targets: tuple[str, ...]) -> Closure:
    modules = (module_of(target) for target in targets)
    return closure([*ENGINE, *(module for module in modules if module is not None)], APART)
