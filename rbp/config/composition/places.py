"""Locate the folders conf/ and sweeps/, and list the groups, options and named grids in them."""

import re
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
ROOT = PACKAGE.parent  # root of a checkout; for an installed wheel, the site-packages folder


def _shipped(name: str) -> Path:
    """Return the path of a folder that a wheel contains inside the package and a checkout beside it."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else ROOT / name


CONF = _shipped("conf")
SWEEPS = _shipped("sweeps")


def groups() -> list[str]:
    """Return the config groups of this project, in the order of conf/config.yaml."""
    names = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    order = (CONF / "config.yaml").read_text()
    return sorted(names, key=lambda name: (order.find(f"- {name}:") % len(order), name))


def is_group(key: str) -> bool:
    """Whether a key of the command line is a group, whose value names a file rather than being a value."""
    return (CONF / key.lstrip("+~").split("@")[0]).is_dir()


def options(group: str) -> list[str]:
    """Return the options of a group in natural order."""
    return natural(path.stem for path in (CONF / group).glob("*.yaml"))


def sweep_names() -> list[str]:
    """Return the names of the grids in sweeps/, in natural order."""
    return natural(path.stem for path in SWEEPS.glob("*.yaml"))


def natural(names: Iterable[str]) -> list[str]:
    """Return names sorted in natural order: 2 before 10."""
    return sorted(
        names, key=lambda name: [p.zfill(9) if p.isdigit() else p for p in re.split(r"(\d+)", name)]
    )
