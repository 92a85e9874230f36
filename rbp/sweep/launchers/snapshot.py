"""A copy of the code for jobs that wait: they run what was submitted, whatever is edited meanwhile."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from rbp.config.composition.places import ROOT
from rbp.errors import ConfigError

# Of files that git does not know yet: those that a run may need. Data and results stay out.
_SOURCES = (".py", ".yaml")
_OF_NO_RUN = ("tests/", "docs/")


def take_snapshot(folder: Path, root: Path = ROOT) -> Path:
    """Copy the project's files as they are now below folder; the same content is copied once.

    Files that git tracks, with their uncommitted changes, and new sources; without git the package itself.
    Returns the copy: put first on the path of imports, it is what a job runs.
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
    """Names relative to root, sorted."""
    git = ["git", "-C", str(root), "ls-files", "-z"]
    try:
        names = _names(git) + _sources(_names([*git, "--others", "--exclude-standard"]))
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        names = []
    if "rbp/__init__.py" not in names:  # an installed package, perhaps below somebody else's repository
        files = [*(root / "rbp").rglob("*")]
        names = [file.relative_to(root).as_posix() for file in files if file.suffix in _SOURCES]
    return sorted({name for name in names if not name.startswith(_OF_NO_RUN)})


def _sources(names: list[str]) -> list[str]:
    """Those of new files that a run may need: nothing of a sweep's folder, such as copies of the code."""
    sweeps = tuple({name.partition(".sweep/")[0] for name in names if "/.sweep/" in name})
    return [name for name in names if name.endswith(_SOURCES) and not name.startswith(sweeps)]


def _names(command: list[str]) -> list[str]:
    answer = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [name for name in answer.split("\0") if name]
