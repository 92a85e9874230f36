"""The git commits of the code that a run uses: rbp's, and those of a lab's packages."""

import functools
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbp.files import read_json

FILE = ".rbp-commit.json"  # in a copy of the code, which is no repository
_SECONDS = 20.0  # for git, which may wait for a network file system


@functools.cache
def commit_of(source: Path) -> Mapping[str, Any] | None:
    """Return the commit that a source file belongs to, as it was when first asked.

    Returns:
        `commit`, 40 hexadecimal digits, and `changed`, whether tracked files differ from it. None if git does
        not track the file.
    """
    for folder in source.absolute().parents:
        if (folder / FILE).is_file():
            content = read_json(folder / FILE)
            return content if isinstance(content, dict) else None
        if (folder / ".git").exists():
            return of_repository(folder) if _git(folder, "ls-files", "--error-unmatch", str(source)) else None
    return None


def of_folder(folder: Path) -> Mapping[str, Any] | None:
    """Return `commit` and `changed` of the repository that a folder lies in; None if it lies in none."""
    root = _git(folder, "rev-parse", "--show-toplevel")
    return of_repository(Path(root)) if root else None


def of_repository(root: Path) -> Mapping[str, Any] | None:
    """Return `commit` and `changed` of a repository as it is now; None if it has no commit."""
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return None if not commit or changes is None else {"commit": commit, "changed": bool(changes)}


def as_file(root: Path) -> bytes | None:
    """Return the content of FILE for a copy of a repository; None if it has no commit."""
    found = of_repository(root)
    return None if found is None else json.dumps(found).encode()


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
