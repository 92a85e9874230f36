"""Copy the code when jobs are submitted, so that edits made while a job waits do not change what it runs."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbp.config.composition.places import ROOT
from rbp.errors import ConfigError
from rbp.provenance import own_roots
from rbp.provenance.commits import FILE as COMMIT_FILE
from rbp.provenance.commits import as_file

# Suffixes of the files to copy among those that git does not track yet; data and results are left out.
_SOURCES = (".py", ".yaml")
LARGEST = 50 * 2**20  # bytes of a file; a larger one is linked, not copied
_OF_NO_RUN = ("tests/", "docs/")  # folders that no run needs


def take_snapshots(folder: Path, configs: Iterable[Mapping[str, Any]]) -> list[Path]:
    """Copy rbp's code, and a lab's own code that some runs import, into folders below `folder`.

    Args:
        folder: The folder for copies.
        configs: The resolved configs of the runs; their `_target_`s say what they import.

    Returns:
        The folders that a job puts first on its import path: the lab's, then rbp's.

    Raises:
        ConfigError: A file cannot be read or written.
    """
    roots = own_roots(configs)
    return [*(_copy_of(root, tops, folder) for root, tops in roots.items()), take_snapshot(folder)]


def _copy_of(root: Path, tops: frozenset[str], folder: Path) -> Path:
    """Copy a lab's code: its git repository, or just the packages that are imported where there is none.

    Args:
        root: The folder on the import path that holds the packages.
        tops: The top-level packages and modules in it that are imported.
        folder: The folder for copies.
    """
    root = root.resolve()
    repository = _repository(root)
    if repository is not None:
        files = _of_git(repository)
        names = {name.removeprefix(f"{root.relative_to(repository)}/") for name in files}
        if all(any(name == f"{top}.py" or name.startswith(f"{top}/") for name in names) for top in tops):
            copy = _copied(folder, repository, files, as_file(repository))
            return copy / root.relative_to(repository)
    return _copied(folder, root, _of_packages(root, tops))


def _repository(folder: Path) -> Path | None:
    command = ["git", "-C", str(folder), "rev-parse", "--show-toplevel"]
    try:
        return Path(
            subprocess.run(
                command, capture_output=True, check=True, encoding="utf-8", errors="replace"
            ).stdout.strip()
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return None


def _of_packages(root: Path, tops: frozenset[str]) -> list[str]:
    """Return the files of packages and modules, relative to `root`."""
    files = [root / f"{top}.py" for top in tops]
    files += [file for top in tops for file in (root / top).rglob("*") if "__pycache__" not in file.parts]
    return [file.relative_to(root).as_posix() for file in files if file.is_file()]


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
    names = _files(root)
    tracked = (root / ".git").exists()
    return _copied(folder, root, names, as_file(root) if tracked else None)


def _copied(folder: Path, root: Path, names: Sequence[str], commit: bytes | None = None) -> Path:
    """Copy files below `folder`, into a folder named by their content; large ones are linked.

    commit: what to note of their commit.
    """
    try:
        files = {name: root / name for name in sorted(names) if (root / name).is_file()}
        large = {name: file.resolve() for name, file in files.items() if file.stat().st_size > LARGEST}
        contents = {name: file.read_bytes() for name, file in files.items() if name not in large}
        contents |= {} if commit is None else {COMMIT_FILE: commit}
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        for name, file in large.items():
            digest.update(f"{name}\0{file}".encode())
        copy = folder / digest.hexdigest()[:12]
        if not copy.exists():
            _write(copy, contents, large)
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: the code cannot be copied for the jobs: {error.strerror}"
        ) from error
    return copy


def _write(copy: Path, contents: dict[str, bytes], links: dict[str, Path]) -> None:
    unfinished = copy.with_name(f".{copy.name}.{os.getpid()}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, content in contents.items():
        (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / name).write_bytes(content)
    for name, file in links.items():
        (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / name).symlink_to(file)
    unfinished.rename(copy)


def _files(root: Path) -> list[str]:
    """Return the files to copy, relative to `root` and sorted."""
    names = _of_git(root)
    if "rbp/__init__.py" not in names:  # an installed package, which may lie inside an unrelated repository
        files = [*(root / "rbp").rglob("*")]
        names = [file.relative_to(root).as_posix() for file in files if file.suffix in _SOURCES]
    return sorted({name for name in names if not name.startswith(_OF_NO_RUN)})


def _of_git(root: Path) -> list[str]:
    """Return the files that git tracks below `root`, and new source files; none without a repository."""
    git = ["git", "-C", str(root), "ls-files", "-z"]
    try:
        return _names(git) + _sources(_names([*git, "--others", "--exclude-standard"]))
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return []


def _sources(names: list[str]) -> list[str]:
    """Return the source files among untracked ones, without those in sweep folders (copies of the code)."""
    sweeps = tuple({name.partition(".sweep/")[0] for name in names if "/.sweep/" in name})
    return [name for name in names if name.endswith(_SOURCES) and not name.startswith(sweeps)]


def _names(command: list[str]) -> list[str]:
    answer = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [name for name in answer.split("\0") if name]
