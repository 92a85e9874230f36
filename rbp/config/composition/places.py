"""Where the configuration lies: the folders conf/ and sweeps/, and what is in them."""

import re
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
ROOT = PACKAGE.parent  # of a checkout; of an installed wheel, the folder of all packages


def _shipped(name: str) -> Path:
    """A folder that a wheel has inside the package, and a checkout beside it."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else ROOT / name


CONF = _shipped("conf")
SWEEPS = _shipped("sweeps")


def groups() -> list[str]:
    """The config groups of this project, in the order of conf/config.yaml."""
    names = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    order = (CONF / "config.yaml").read_text()
    return sorted(names, key=lambda name: (order.find(f"- {name}:") % len(order), name))


def is_group(key: str) -> bool:
    """Whether `key=` on the command line chooses a file of a folder rather than a value."""
    return (CONF / key.lstrip("+~").split("@")[0]).is_dir()


def options(group: str) -> list[str]:
    """The files to choose from in a group, numbers in their order."""
    return natural(path.stem for path in (CONF / group).glob("*.yaml"))


def sweep_names() -> list[str]:
    """The named grids there are."""
    return natural(path.stem for path in SWEEPS.glob("*.yaml"))


def natural(names: Iterable[str]) -> list[str]:
    """Sorted, with 2 before 10."""
    return sorted(
        names, key=lambda name: [p.zfill(9) if p.isdigit() else p for p in re.split(r"(\d+)", name)]
    )
