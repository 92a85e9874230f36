"""Locating modules, and telling a lab's own code from third-party code, without importing anything."""

import functools
import json
import pkgutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

# Import names of rbp's dependencies. They count as third-party (their versions are recorded) even if they
# were installed from a source folder.
DEPENDENCIES = frozenset(
    [
        "torch",
        "torchvision",
        "spikingjelly",
        "hydra",
        "omegaconf",
        "wandb",
        "submitit",
        "rich",
        "sklearn",
        "yaml",
        "matplotlib",
        "numpy",
        "PIL",
        "scipy",
        "tensorboard",
    ]
)
_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))
_DEEPEST = 64  # parts of a dotted name that are looked at


@dataclass(frozen=True)
class ModulePlace:
    """The location of a module.

    Attributes:
        file: Its source file; None for a package without __init__.
        folders: The folders of a package; empty for other modules.
    """

    file: Path | None
    folders: tuple[str, ...] = ()


def module_of(target: str) -> str | None:
    """Return the module part of a dotted name such as package.module.function, or None if there is none."""
    parts = target.split(".")
    for n in range(min(len(parts), _DEEPEST), 0, -1):
        if find(name := ".".join(parts[:n])) is not None:
            return name
    return None


@functools.cache
def find(name: str) -> ModulePlace | None:
    """Return the location of a module, or None.

    Unlike importlib's find_spec, this imports no parent package.
    """
    parent, _, _ = name.rpartition(".")
    if not parent:
        return _find_top(name)
    above = find(parent)
    return _find_in(name, above.folders) if above is not None else None


def _find_top(name: str) -> ModulePlace | None:
    """Locate a top-level module with all finders, including those of editable installs."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None) if name and hasattr(finder, "find_spec") else None
        if spec is not None:
            file = Path(spec.origin) if spec.has_location and spec.origin else None
            return ModulePlace(file, tuple(spec.submodule_search_locations or ()))
    return None


def _find_in(name: str, folders: tuple[str, ...]) -> ModulePlace | None:
    """Locate a module in the folders of its package.

    A namespace package (without __init__) may consist of several folders.
    """
    portions: list[str] = []
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        spec = finder.find_spec(name) if finder is not None else None
        if spec is None:
            continue
        if spec.loader is not None and spec.origin is not None:
            return ModulePlace(Path(spec.origin), tuple(spec.submodule_search_locations or ()))
        portions += spec.submodule_search_locations or ()
    return ModulePlace(None, tuple(portions)) if portions else None


@functools.cache
def is_own(top: str) -> bool:
    """Whether a top-level package is rbp's or a lab's own code rather than third-party.

    Own code lies in a folder of sources, or was installed from a source folder that still exists or from a
    repository.
    """
    if top == "rbp":
        return True
    if top in DEPENDENCIES or (place := find(top)) is None:
        return False
    places = [Path(folder) for folder in place.folders] or ([place.file] if place.file else [])
    return bool(places) and all(_is_of_sources(top, found.parent) for found in places)


def _is_of_sources(top: str, folder: Path) -> bool:
    """Whether a top-level package in this folder counts as own code."""
    if _INSTALLED & set(folder.parts):
        return top in _installed(folder, from_sources=True)
    if str(folder).startswith(_STANDARD):
        return False
    return top not in _installed(folder) or top in _installed(folder, from_sources=True)


@functools.cache
def _installed(folder: Path, from_sources: bool = False) -> frozenset[str]:
    """Return the top-level packages that pip installed into a folder.

    Args:
        folder: A folder such as site-packages.
        from_sources: Only those installed from a source folder or repository.
    """
    found: set[str] = set()
    for info in folder.glob("*.dist-info"):
        if from_sources and not _came_from_sources(info):
            continue
        try:
            record = (info / "RECORD").read_text("utf-8")
        except (OSError, ValueError):
            continue
        names = (line.split("/")[0].split(",")[0] for line in record.splitlines())
        found |= {name.removesuffix(".py") for name in names}
    return frozenset(found)


def _came_from_sources(info: Path) -> bool:
    """Whether a distribution was installed from a folder that still exists or from a repository (PEP 610)."""
    try:
        origin = json.loads((info / "direct_url.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(origin, dict):
        return False
    folder = Path(unquote(urlparse(str(origin.get("url"))).path))
    return "vcs_info" in origin or ("dir_info" in origin and folder.is_dir())
