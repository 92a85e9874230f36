"""The git commits that a tracker shows of a run: those of its code, and where it was started."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbp.provenance import named_commits
from rbp.runs.start import read_start

STARTED_IN = "started_in"
CHANGES = "+changes"


def commits_of(config: dict[str, Any], folder: Path) -> dict[str, str]:
    """Return the commit of rbp, of each package of a lab that the config names, and of the working directory.

    In a queued job they are those of the submission: its code is a copy that has its commit beside it.

    Returns:
        40 hexadecimal digits, with "+changes" where tracked files differ from the commit; by package, and
        under `started_in` for the repository in which the run was started. Those that are unknown are left
        out.
    """
    start = read_start(folder) or {}
    found = named_commits(config) | {STARTED_IN: start.get("git")}
    return {name: _text(commit) for name, commit in found.items() if commit}


def _text(commit: Mapping[str, Any]) -> str:
    return f"{commit['commit']}{CHANGES if commit.get('changed') else ''}"


def main_commit(commits: dict[str, str]) -> str | None:
    """Return the one commit that stands for the run: that of the repository it was started in, else rbp's."""
    found = commits.get(STARTED_IN) or commits.get("rbp")
    return None if found is None else found.removesuffix(CHANGES)
