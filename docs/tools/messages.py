"""The list of every refusal: the messages of all errors that a user can meet, read out of the code.

Places where a message is filled in are shown as the code has them, in braces.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ERRORS = {  # kind -> what it means to who meets it
    "ConfigError": "a configuration that cannot be run; nothing was written",
    "FolderBusy": "another process works in this run's folder; it was left alone",
    "DataError": "a data set that is missing, damaged or not what it should be",
    "CheckpointError": "a checkpoint that cannot be used for this run",
    "TrainingError": "training cannot go on; the run is `failed` with this reason",
    "SweepFailed": "some cells failed; the others keep their results",
    "UserError": "a command that cannot be carried out",
    "InputError": "a call of `rbp.forward` or `rbp.rate` with something that it cannot take",
    "NoRuleError": "rate mode met a layer, a neuron or an operation that it cannot follow",
}
_ASIDE = ("template",)  # folders of rbp that are no part of the program
_HEAD = """# Every message

What rbp's errors say, word by word, read out of the code. Search for a few words of yours: the site's search
finds this page too. In braces stands what is filled in. [When something goes wrong](trouble.md) explains the
common ones.
"""


def page(package: Path) -> str:
    """Return the page as Markdown.

    Args:
        package: The folder of the package rbp.
    """
    found: dict[str, dict[str, list[str]]] = {kind: {} for kind in ERRORS}
    for file in sorted(package.rglob("*.py")):
        where = file.relative_to(package)
        if where.parts[0] in _ASIDE:
            continue
        for kind, message in messages(file.read_text("utf-8")):
            found[kind].setdefault(f"rbp/{where.as_posix()}", []).append(message)
    parts = [_HEAD]
    for kind, files in found.items():
        parts.append(f"\n## {kind}\n\n{ERRORS[kind][0].upper()}{ERRORS[kind][1:]}.\n")
        for name, texts in files.items():
            lines = "\n".join(f"- `` {text} ``" for text in dict.fromkeys(texts))
            parts.append(f"\nIn `{name}`:\n\n{lines}\n")
    return "".join(parts)


def messages(code: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of every error that a module raises with a message of its own."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and node.args and _name(node.func) in ERRORS:
            kind, message = _name(node.func), node.args[0]
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.JoinedStr):
            kind, message = "ConfigError", node.value  # one of several problems that are told together
        else:
            continue
        if any(letter.isalpha() for letter in _constants(message)):
            yield kind, _text(message)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else ""


def _text(message: ast.expr) -> str:
    """Return a message in one line, with braces where it is filled in."""
    if isinstance(message, ast.Constant):
        text = str(message.value)
    elif isinstance(message, ast.JoinedStr):
        text = "".join(_text(part) for part in message.values)
    elif isinstance(message, ast.BinOp):
        text = _text(message.left) + _text(message.right)
    elif isinstance(message, ast.FormattedValue):
        text = f"{{{ast.unparse(message.value)}}}"
    else:
        text = f"{{{ast.unparse(message)}}}"
    return " ".join(text.split("\n")).replace("`", "'")


def _constants(message: ast.expr) -> str:
    values = (part.value for part in ast.walk(message) if isinstance(part, ast.Constant))
    return "".join(value for value in values if isinstance(value, str))
