"""Copy the code when jobs are submitted, so that edits made while a job waits do not change what it runs."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from rbp.config.composition.places import ROOT
from rbp.errors import ConfigError

# Suffixes of the files to copy among those that git does not track yet; data and results are left out.
_SOURCES = (".py", ".yaml")
_OF_NO_RUN = ("tests/", "docs/")  # folders that no run needs


def take_snapshot(folder: Path, root: Path = ROOT) -> Path:
    """Copy the current files of the project into a folder below `folder`.

    The copy contains the files that git tracks, with uncommitted changes, and new source files; without git,
    the source files of the package. It is named by a hash of its content, so that the same content is copied
    only once.

    Args:
        folder: The folder for copies.
        root: The root of the project.

    Returns:
        The folder of the copy. A job runs this code if the folder is first on its import path.

    Raises:
        ConfigError: A file cannot be read or written.
    """
    try:
        contents = {name: (root / name).read_bytes() for name in _files(root) if (root / name).is_file()}
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        copy = folder / digest.hexdigest()[:12]
        if not copy.exists():
            _write(copy, contents)
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: the code cannot be copied for the jobs: {error.strerror}"
        ) from error
    return copy


def _write(copy: Path, contents: dict[str, bytes]) -> None:
    unfinished = copy.with_name(f".{copy.name}.{os.getpid()}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, content in contents.items():
        (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / name).write_bytes(content)
    unfinished.rename(copy)


def _files(root: Path) -> list[str]:
    """Return the files to copy, relative to `root` and sorted."""
    git = ["git", "-C", str(root), "ls-files", "-z"]
    try:
        names = _names(git) + _sources(_names([*git, "--others", "--exclude-standard"]))
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        names = []
    if "rbp/__init__.py" not in names:  # an installed package, which may lie inside an unrelated repository
        files = [*(root / "rbp").rglob("*")]
        names = [file.relative_to(root).as_posix() for file in files if file.suffix in _SOURCES]
    return sorted({name for name in names if not name.startswith(_OF_NO_RUN)})


def _sources(names: list[str]) -> list[str]:
    """Return the source files among untracked ones, without those in sweep folders (copies of the code)."""
    sweeps = tuple({name.partition(".sweep/")[0] for name in names if "/.sweep/" in name})
    return [name for name in names if name.endswith(_SOURCES) and not name.startswith(sweeps)]


def _names(command: list[str]) -> list[str]:
    answer = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [name for name in answer.split("\0") if name]
