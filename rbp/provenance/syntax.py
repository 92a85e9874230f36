"""A fingerprint of what a source file does: its syntax tree without docstrings, comments and layout."""

import ast
import hashlib
from pathlib import Path
from typing import Any

# Fields of a node that are redundant, or that exist in some versions of Python only.
_SKIPPED = {"ctx", "kind", "type_comment", "type_ignores"}
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def parse(file: Path) -> ast.Module | None:
    """Return the syntax tree of a source file, or None if it cannot be parsed, such as a compiled module."""
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):  # null bytes raise ValueError
        return None


def fingerprint(file: Path, tree: ast.Module | None) -> str:
    """Return a hash that ignores docstrings and is the same in every version of Python.

    Args:
        file: The source file.
        tree: The result of `parse`; if None, the file's bytes are hashed.
    """
    try:
        content = _bytes_of(file) if tree is None else _as_bytes(tree)
    except (RecursionError, ValueError):  # expressions nested hundreds deep, numbers of thousands of digits
        content = _bytes_of(file)
    return hashlib.sha256(content).hexdigest()


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # a file that this user cannot read cannot be run either
        return b""


def _as_bytes(tree: ast.Module) -> bytes:
    lines: list[str] = []
    _add(tree, lines)
    return "\n".join(lines).encode(errors="surrogatepass")


def _add(value: Any, lines: list[str]) -> None:
    """Add a tree as lines. Empty fields are left out, since new versions of Python add some."""
    if isinstance(value, ast.AST):
        lines.append(type(value).__name__)
        for name, inner in ast.iter_fields(value):
            if name == "body" and isinstance(value, _WITH_DOCSTRING):
                inner = _without_docstring(inner)
            elif name == "values" and isinstance(
                value, ast.JoinedStr
            ):  # Python 3.12 puts empty texts between
                inner = [part for part in inner if not (isinstance(part, ast.Constant) and part.value == "")]
            if name not in _SKIPPED and inner is not None and inner != []:
                lines.append(name)
                _add(inner, lines)
        lines.append(".")
    elif isinstance(value, list):
        lines.append(str(len(value)))
        for item in value:
            _add(item, lines)
    else:
        lines.append(repr(value))


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body
