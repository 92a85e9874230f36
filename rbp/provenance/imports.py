"""The modules that a module stands on, found from the sources alone: nothing is imported or run."""

import ast
import functools
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from rbp.provenance.syntax import fingerprint, parse

# Whose versions are recorded, however they were installed.
DEPENDENCIES = frozenset({"torch", "torchvision", "spikingjelly", "hydra", "omegaconf", "numpy"})
_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Module:
    """A module of our own or of a lab's. imports: dotted names of what it may import, at any place in it."""

    name: str
    fingerprint: str
    imports: frozenset[str]


@dataclass(frozen=True)
class Closure:
    """modules: name -> module, all that are not third-party. packages: top-level names of those that are."""

    modules: dict[str, Module]
    packages: frozenset[str]


def closure(names: Iterable[str], apart: frozenset[str]) -> Closure:
    """What these modules import, and what that imports, and so on; their packages' __init__ too.

    apart: modules and packages that are left out, with all that only they import.
    """
    modules: dict[str, Module] = {}
    packages: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in modules or _is_below(name, apart):
            continue
        top = name.partition(".")[0]
        if not is_own(top):
            packages.add(top)
            continue
        if (module := _read(name)) is None:  # an attribute of a module, or not there
            continue
        modules[name] = module
        waiting += module.imports
        waiting += _parents(name)
    return Closure(modules, frozenset(packages - sys.stdlib_module_names))


def module_of(target: str) -> str | None:
    """The module in which a dotted name such as package.module.function is; None where it is not there."""
    parts = target.split(".")
    for n in range(len(parts), 0, -1):
        if _find(name := ".".join(parts[:n])) is not None:
            return name
    return None


@functools.cache
def is_own(top: str) -> bool:
    """Whether a top-level package is code that a lab works on, ours or its own, rather than third-party.

    That is what lies in a folder of sources, or was installed from one or from a repository.
    """
    if top == "rbp":
        return True
    if top in DEPENDENCIES or top in sys.stdlib_module_names or (spec := _find(top)) is None:
        return False
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    installed = any(_INSTALLED & set(Path(place).parts) for place in places if place)
    return bool(places) and (not installed or top in _installed_from_sources())


@functools.cache
def _installed_from_sources() -> frozenset[str]:
    """Top-level packages installed by pip from a folder or a repository, not from an index (PEP 610)."""
    found = set()
    for place in sys.path:
        for file in Path(place).glob("*.dist-info/direct_url.json"):
            try:
                origin = json.loads(file.read_text())
                record = file.with_name("RECORD").read_text()
            except (OSError, ValueError):
                continue
            if isinstance(origin, dict) and {"dir_info", "vcs_info"} & origin.keys():
                found |= {
                    line.split("/")[0].split(",")[0].removesuffix(".py") for line in record.splitlines()
                }
    return frozenset(found)


@functools.cache
def _find(name: str) -> ModuleSpec | None:
    """Where a module lies. Unlike importlib's find_spec, it imports no parent package."""
    parent, _, _ = name.rpartition(".")
    if not parent:
        found = (finder.find_spec(name, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        return next((spec for spec in found if spec is not None), None)
    above = _find(parent)
    if above is None or above.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, list(above.submodule_search_locations))


@functools.cache
def _read(name: str) -> Module | None:
    spec = _find(name)
    if spec is None:
        return None
    if not spec.has_location or spec.origin is None:  # a package without __init__
        return Module(name, "", frozenset())
    file, is_package = Path(spec.origin), spec.submodule_search_locations is not None
    tree = parse(file)
    package = name if is_package else name.rpartition(".")[0]
    imports = frozenset() if tree is None else frozenset(_imports(tree, package))
    return Module(name, fingerprint(file, tree), imports)


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names after `import` and `from`, those for type checkers only left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and _is_for_types(node.test):
            for branch in node.orelse:
                yield from _imports(ast.Module([branch], []), package)
        elif not isinstance(node, ast.expr):
            yield from _imports(node, package)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def _is_for_types(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _is_below(name: str, apart: frozenset[str]) -> bool:
    return name in apart or any(parent in apart for parent in _parents(name) if parent != "rbp")
