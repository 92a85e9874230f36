"""A repository of a lab's own, as `rbp init` writes it: with a network, a launcher file, sweeps and tests."""

import subprocess
from pathlib import Path

from rbp.cli import main


def new_lab(folder: Path, commit: bool = False) -> Path:
    """Write a lab's repository into a folder, whose name is the package's; return the folder.

    Two labs in one test process need two names: Python imports a package of one name once.

    Args:
        folder: A new folder.
        commit: Whether to commit everything, so that results say the commit.
    """
    assert main(["init", str(folder)]) == 0
    if commit:
        git(folder, "add", ".")
        git(folder, "-c", "user.name=me", "-c", "user.email=me@there", "commit", "-q", "-m", "first")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """What git prints in a repository; it must succeed."""
    done = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
