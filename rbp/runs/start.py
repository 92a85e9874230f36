"""Read and write start.json: by which launcher, from which folder and commit a run was last started."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbp.files import read_json, write_json
from rbp.runs.folder import RunFolder


def write_start(
    folder: Path, launcher: Mapping[str, Any], working_directory: str, git: Mapping[str, Any] | None
) -> None:
    """Record a start.

    Args:
        folder: The run's folder; created if missing.
        launcher: The launcher's name, option and settings.
        working_directory: The folder that the run was started in.
        git: `commit` of the repository that this folder lies in, and whether tracked files have `changed`;
            None if it lies in none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = {"launcher": {**launcher}, "working_directory": working_directory, "git": git and {**git}}
    write_json(RunFolder(folder).start, start)


def read_start(folder: Path) -> dict[str, Any] | None:
    """Return what `write_start` wrote; None if the file is missing or damaged."""
    found = read_json(RunFolder(folder).start)
    if not isinstance(found, dict):
        return None
    launcher, place, git = (found.get(key) for key in ("launcher", "working_directory", "git"))
    if not isinstance(launcher, dict) or not isinstance(place, str):
        return None
    commit = git if isinstance(git, dict) and isinstance(git.get("commit"), str) else None
    return {"launcher": launcher, "working_directory": place, "git": commit}
