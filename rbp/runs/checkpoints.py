"""Name the checkpoints in a run's folder, and decide which of them can be removed when the run is done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
_KEPT = {"last": {LAST}, "best": {BEST}, "all": {LAST, PREVIOUS, BEST}}
KEEP = tuple(_KEPT)


def removable_checkpoints(folder: Path, keep: str) -> list[Path]:
    """Return the checkpoints of a finished run that need not be kept.

    If none of the checkpoints to keep exists, the list is empty, so that a run never loses all of them.

    Args:
        folder: The folder of the checkpoints.
        keep: Which to keep: last, best or all.
    """
    there = {name for name in (LAST, PREVIOUS, BEST) if (folder / name).exists()}
    kept = there & _KEPT[keep]
    return [folder / name for name in sorted(there - kept)] if kept else []


def remove_unneeded_checkpoints(folder: Path, keep: str) -> None:
    """Remove the checkpoints that `removable_checkpoints` lists."""
    for file in removable_checkpoints(folder, keep):
        file.unlink(missing_ok=True)


def kept_by(trainer: Mapping[str, Any]) -> str:
    """Return which checkpoints to keep according to a config's group `trainer`: last, best or all."""
    return str(trainer.get("keep") or trainer["headline"])
