"""`rbp init`: write a repository of one's own, with a network, sweeps and tests, around an installed rbp."""

import argparse
import importlib.util
import keyword
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rbp.errors import ConfigError
from rbp.terminal.output import say

# A repository that works as it is, of a lab of the name NAME, which the new name replaces wherever it stands.
TEMPLATE = Path(__file__).resolve().parents[1] / "template"
NAME = "mylab"
_FOLDERS = {"conf", "data", "runs", "sweeps", "tests"}  # that lie beside the package


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp init`."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a new or empty folder; the package is named by it"
    )


def command(args: argparse.Namespace) -> int:
    """Write the repository and say what to do next.

    Raises:
        ConfigError: The folder is not empty or cannot be written, or its name is no name for a package.
    """
    folder = Path(os.path.abspath(args.folder.expanduser()))
    name = package_name(folder)
    _refuse_used(folder)
    try:
        files = list(_write(folder, name))
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}"
        ) from error
    for file in files:
        say(f"{args.folder / file}")
    if _made_repository(folder):
        say(f"{args.folder / '.git'}: an empty git repository; jobs record its commit once there is one")
    say("\nNext:")
    say(f"  cd {shlex.quote(str(args.folder))}")
    say("  rbp train sweeps=first")
    say("  python -m pytest")
    return 0


def package_name(folder: Path) -> str:
    """Return the name of the package that a repository in a folder has.

    Raises:
        ConfigError: It cannot be one, or is that of another package.
    """
    name = folder.name.replace("-", "_")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"{folder.name}: the package is named by the folder, - replaced by _: take letters, digits and "
            "_, a letter first, and no word of Python's"
        )
    if name in _FOLDERS:
        raise ConfigError(f"{folder.name}: is the name of a folder beside the package; choose another name")
    if _is_taken(name):
        raise ConfigError(f"{folder.name}: Python has a package {name} already; choose another name")
    return name


def _is_taken(name: str) -> bool:
    if name in sys.stdlib_module_names:
        return True
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None  # None: a folder of the name, perhaps this very one


def _refuse_used(folder: Path) -> None:
    """Raise ConfigError unless the folder is new, empty, or an empty git repository."""
    if folder.is_dir() and (inside := sorted(path.name for path in folder.iterdir() if path.name != ".git")):
        raise ConfigError(f"{folder}: is not empty, {inside[0]} is in it; name a new folder")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a new folder")


def _write(folder: Path, name: str) -> Iterator[Path]:
    """Write the files and yield their paths below the folder."""
    for source in sorted(file for file in TEMPLATE.rglob("*") if file.is_file()):
        if "__pycache__" in source.parts:  # pip compiles what it installs
            continue
        relative = str(source.relative_to(TEMPLATE)).replace(NAME, name)
        file = Path(".gitignore" if relative == "gitignore" else relative)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(source.read_text().replace(NAME, name))
        yield file


def _made_repository(folder: Path) -> bool:
    """Make the folder a git repository if it is in none and git is installed; return whether it was made."""
    if shutil.which("git") is None:
        return False
    inside = subprocess.run(["git", "-C", folder, "rev-parse", "--git-dir"], capture_output=True)
    if inside.returncode == 0:
        return False
    return subprocess.run(["git", "init", "-q", folder], capture_output=True).returncode == 0
