"""The modules that a module stands on, found from the sources alone: nothing is imported or run."""

import ast
import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rbp.provenance.finding import find, is_own
from rbp.provenance.syntax import fingerprint, parse


@dataclass(frozen=True)
class Module:
    """A module of our own or of a lab's.

    imports: dotted names of what it may import, at any place; `package.*` for all that a package exports.
    exports: what its __all__ lists.
    """

    fingerprint: str
    imports: frozenset[str] = frozenset()
    exports: frozenset[str] = frozenset()


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
        elif name.endswith(".*"):
            package = name.removesuffix(".*")
            exported = _read(package)
            waiting += [f"{package}.{export}" for export in exported.exports] if exported else []
        elif (module := _read(name)) is not None:  # else an attribute of a module, or not there
            modules[name] = module
            waiting += module.imports
            waiting += _parents(name)
    return Closure(modules, frozenset(packages - sys.stdlib_module_names))


@functools.cache
def _read(name: str) -> Module | None:
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
    """Dotted names after `import` and `from` and in import_module("..."), but those for type checkers."""
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
    """A name with leading dots as seen from a package."""
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    parts = package.split(".")
    above = parts[: len(parts) - level + 1] if level else []
    return ".".join([*above, *([rest] if rest else [])])


def _is_for_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _imported_by_call(node: ast.AST) -> str | None:
    """The name in import_module("name") or __import__("name"), where it is written out."""
    match node:
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return name
    return None


def _exports(tree: ast.Module) -> Iterator[str]:
    """What __all__ lists, where it is written out."""
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
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _is_below(name: str, apart: frozenset[str]) -> bool:
    return name in apart or any(parent in apart for parent in _parents(name) if parent != "rbp")
