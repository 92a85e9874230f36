"""Locate the folders that hold group options and sweep files, and list what is in them.

Options of groups come from `--config-dir`, `hydra.searchpath`, ./conf of the working directory, and rbp's own
conf/; sweep files from DIR/sweeps and DIR/../sweeps of `--config-dir DIR`, ./sweeps, and rbp's own sweeps/.
The first folder that has a file wins.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
ROOT = PACKAGE.parent  # root of a checkout; for an installed wheel, the site-packages folder


def _shipped(name: str) -> Path:
    """Return the path of a folder that a wheel contains inside the package and a checkout beside it."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else ROOT / name


CONF = _shipped("conf")
SWEEPS = _shipped("sweeps")
_DEEPEST = 3  # levels that are looked into, as in hydra/launcher/NAME.yaml: a folder may hold much else
_NONE: tuple[Path | None, Sequence[str]] = (None, ())
_named: ContextVar[tuple[Path | None, Sequence[str]]] = ContextVar("named folders", default=_NONE)


@contextmanager
def named_folders(config_dir: Path | None, search_path: Sequence[str] = ()) -> Iterator[None]:
    """Look for options and sweeps in these folders first, inside the block.

    Args:
        config_dir: The folder of `--config-dir`.
        search_path: The entries of `hydra.searchpath`, such as file:///home/me/conf or pkg://mylab.conf.
    """
    before = _named.set((None if config_dir is None else config_dir.absolute(), tuple(search_path)))
    try:
        yield
    finally:
        _named.reset(before)


def search_entries() -> list[str]:
    """Return the user's entries of Hydra's search path, first to last: file://FOLDER or pkg://PACKAGE."""
    config_dir, search_path = _named.get()
    here = Path("conf").absolute()
    first = [] if config_dir is None else [f"file://{config_dir}"]
    last = [f"file://{here}"] if here.is_dir() and not _same(here, CONF) else []
    return list(dict.fromkeys([*first, *search_path, *last]))


def config_folders() -> list[Path]:
    """Return the folders that hold options, the user's first, rbp's own last."""
    own = [entry.removeprefix("file://") for entry in search_entries() if not entry.startswith("pkg://")]
    return [*(Path(folder) for folder in own), CONF]


def sweep_folders() -> list[Path]:
    """Return the folders that hold sweep files, the user's first, rbp's own last."""
    config_dir, _ = _named.get()
    beside = [] if config_dir is None else [config_dir / "sweeps", config_dir.parent / "sweeps"]
    own = [folder for folder in (*beside, Path("sweeps").absolute()) if folder.is_dir()]
    return [*(folder for folder in dict.fromkeys(own) if not _same(folder, SWEEPS)), SWEEPS]


def hidden_files() -> list[str]:
    """Return a line for each folder of the user's whose files hide those of a later folder."""
    lines = []
    for folders in (config_folders(), sweep_folders()):
        for index, folder in enumerate(folders[:-1]):
            if hidden := list(_pairs(folder, folders[index + 1 :])):
                file, other = hidden[0]
                more = f", and {len(hidden) - 1} more such files" if hidden[1:] else ""
                lines.append(f"{file} is taken, not {other}{more}")
    return lines


def _pairs(folder: Path, later: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each file of a folder with the first one that it hides in a later folder."""
    for file in sorted(_yaml_files(folder)):
        name = file.relative_to(folder)
        others = [other / name for other in later if (other / name).is_file()]
        if others and name.parts != ("config.yaml",):  # a primary config is chosen by its name
            yield file, others[0]


def _yaml_files(folder: Path) -> Iterator[Path]:
    """Yield the YAML files of a folder."""
    return (file for depth in range(_DEEPEST) for file in folder.glob("*/" * depth + "*.yaml"))


def groups() -> list[str]:
    """Return the config groups, in the order of conf/config.yaml, those of the user's own last."""
    folders = [folder for folder in config_folders() if folder.is_dir()]
    names = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()} - {"hydra"}
    order = (CONF / "config.yaml").read_text("utf-8")
    return sorted(names, key=lambda name: (order.find(f"- {name}:") % len(order), name))


def is_group(key: str) -> bool:
    """Whether a key of the command line is a group, whose value names a file rather than being a value."""
    name = key.lstrip("+~").split("@")[0]
    return any((folder / name).is_dir() for folder in config_folders())


def options(group: str) -> list[str]:
    """Return the options of a group in natural order."""
    return natural({path.stem for folder in config_folders() for path in (folder / group).glob("*.yaml")})


def option_file(group: str, option: str) -> Path | None:
    """Return the file of a group's option; None if no folder has it."""
    files = (folder / group / f"{option}.yaml" for folder in config_folders())
    return next((file for file in files if file.is_file()), None)


def sweep_file(name: str) -> Path | None:
    """Return the file of a sweep, such as paper/cifar10; None if no folder has it."""
    parts = name.split("/")
    if len(parts) > _DEEPEST or not {"", ".", ".."}.isdisjoint(parts):
        return None
    files = (folder / f"{name}.yaml" for folder in sweep_folders())
    return next((file for file in files if os.path.isfile(file)), None)  # False for a name that is too long


def sweep_files() -> dict[str, Path]:
    """Return the sweep files by name, such as digits_dvs or paper/cifar10, in natural order."""
    found: dict[str, Path] = {}
    for folder in sweep_folders():
        for file in _yaml_files(folder):
            found.setdefault(file.relative_to(folder).with_suffix("").as_posix(), file)
    return {name: found[name] for name in natural(found)}


def natural(names: Iterable[str]) -> list[str]:
    """Return names sorted in natural order: 2 before 10."""
    return sorted(
        names, key=lambda name: [p.zfill(9) if p.isdigit() else p for p in re.split(r"(\d+)", name)]
    )


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
