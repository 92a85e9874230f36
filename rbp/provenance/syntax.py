"""A fingerprint of what a source file does: its syntax tree without docstrings, comments and layout."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Of a node: what says nothing beyond the rest, or is written by some versions of Python only.
_SKIPPED = {"ctx", "kind", "type_comment", "type_ignores"}
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def parse(file: Path) -> ast.Module | None:
    """The tree of a source file; None where it is not Python, such as a compiled module."""
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):  # ValueError: null bytes
        return None


def fingerprint(file: Path, tree: ast.Module | None) -> str:
    """The same for files whose trees differ in docstrings only, in every version of Python.

    tree: what `parse` gave; without one, the file's bytes count.
    """
    try:
        content = _bytes_of(file) if tree is None else _as_bytes(tree)
    except (RecursionError, ValueError):  # expressions nested hundreds deep, numbers of thousands of digits
        content = _bytes_of(file)
    return hashlib.sha256(content).hexdigest()


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # not to be read by this user: nor can it be run
        return b""


def _as_bytes(tree: ast.Module) -> bytes:
    return "\n".join(_tokens(tree)).encode(errors="surrogatepass")


def _tokens(value: Any) -> Iterator[str]:
    """A tree as lines. Fields that are empty are left out, as new versions of Python add some."""
    if isinstance(value, ast.AST):
        yield type(value).__name__
        for name, inner in ast.iter_fields(value):
            if name == "body" and isinstance(value, _WITH_DOCSTRING):
                inner = _without_docstring(inner)
            elif name == "values" and isinstance(
                value, ast.JoinedStr
            ):  # Python 3.12 puts empty texts between
                inner = [part for part in inner if not (isinstance(part, ast.Constant) and part.value == "")]
            if name not in _SKIPPED and inner is not None and inner != []:
                yield name
                yield from _tokens(inner)
        yield "."
    elif isinstance(value, list):
        yield str(len(value))
        for item in value:
            yield from _tokens(item)
    else:
        yield repr(value)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body
