"""The modules that a module depends on, found from the sources alone: nothing is imported or run."""

import ast
import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rbp.provenance.module_location import find, is_own
from rbp.provenance.syntax import fingerprint, parse


@dataclass(frozen=True)
class Module:
    """A module of rbp or of a lab's own code.

    Attributes:
        fingerprint: The fingerprint of its source file.
        imports: Dotted names that it may import anywhere in the file; `package.*` for all exports of a
            package.
        exports: Names listed in its __all__.
    """

    fingerprint: str
    imports: frozenset[str] = frozenset()
    exports: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Closure:
    """A set of modules together with everything that they import, directly or indirectly.

    Attributes:
        modules: Own modules by dotted name.
        packages: Top-level names of the third-party packages that they import.
    """

    modules: dict[str, Module]
    packages: frozenset[str]


def closure(names: Iterable[str], apart: frozenset[str]) -> Closure:
    """Return all modules that the named modules import, directly or indirectly, including parent packages.

    Args:
        names: Dotted names of modules.
        apart: Modules and packages to leave out, with everything that only they import.
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
        elif name.endswith(".*"):
            package = name.removesuffix(".*")
            exported = _read(package)
            waiting += [f"{package}.{export}" for export in exported.exports] if exported else []
        elif (module := _read(name)) is not None:  # otherwise an attribute of a module, or missing
            modules[name] = module
            waiting += module.imports
            waiting += _parents(name)
    return Closure(modules, frozenset(packages - sys.stdlib_module_names))


@functools.cache
def _read(name: str) -> Module | None:
    """Return a module's fingerprint, imports and exports, or None if there is no such module."""
    place = find(name)
    if place is None:
        return None
    if place.file is None:
        return Module("")
    tree = parse(place.file)
    if tree is None:
        return Module(fingerprint(place.file, None))
    package = name if place.folders else name.rpartition(".")[0]
    return Module(
        fingerprint(place.file, tree), frozenset(_imports(tree, package)), frozenset(_exports(tree))
    )


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the dotted names of a tree's imports, without those for type checkers only.

    These are the names after `import` and `from`, and in import_module("...") and __import__("...").
    """
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and _is_for_types(node.test):
            waiting += node.orelse
        else:
            if (name := _imported_by_call(node)) is not None:
                yield _absolute(name, package)
            waiting += ast.iter_child_nodes(node)


def _absolute(name: str, package: str) -> str:
    """Resolve a name with leading dots, as seen from a package."""
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    parts = package.split(".")
    above = parts[: len(parts) - level + 1] if level else []
    return ".".join([*above, *([rest] if rest else [])])


def _is_for_types(test: ast.expr) -> bool:
    """Whether the condition is TYPE_CHECKING."""
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _imported_by_call(node: ast.AST) -> str | None:
    """Return the name in import_module("name") or __import__("name") if it is a literal."""
    match node:
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return name
    return None


def _exports(tree: ast.Module) -> Iterator[str]:
    """Yield the names in __all__ that are literals."""
    for node in tree.body:
        match node:
            case (
                ast.Assign(
                    targets=[ast.Name(id="__all__")], value=ast.List(elts=names) | ast.Tuple(elts=names)
                )
                | ast.AugAssign(target=ast.Name(id="__all__"), value=ast.List(elts=names))
            ):
                yield from (str(name.value) for name in names if isinstance(name, ast.Constant))


def _parents(name: str) -> list[str]:
    """Return the dotted names of the packages that contain a module, outermost first."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _is_below(name: str, apart: frozenset[str]) -> bool:
    """Whether a module or one of its parents is in `apart`; `rbp` there stands for its own __init__ only."""
    return name in apart or any(parent in apart for parent in _parents(name) if parent != "rbp")
