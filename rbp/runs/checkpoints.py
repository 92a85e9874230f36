"""The checkpoints in a run's folder, and which of them may go when the run is done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
_KEPT = {"last": {LAST}, "best": {BEST}, "all": {LAST, PREVIOUS, BEST}}
KEEP = tuple(_KEPT)


def superfluous(folder: Path, keep: str) -> list[Path]:
    """The checkpoints of a run that is done, less those to keep.

    None are superfluous where that would leave none.

    Args:
        folder: of the checkpoints.
        keep: last, best or all.
    """
    there = {name for name in (LAST, PREVIOUS, BEST) if (folder / name).exists()}
    kept = there & _KEPT[keep]
    return [folder / name for name in sorted(there - kept)] if kept else []


def remove_superfluous(folder: Path, keep: str) -> None:
    """Remove `superfluous` checkpoints."""
    for file in superfluous(folder, keep):
        file.unlink(missing_ok=True)


def kept_by(trainer: Mapping[str, Any]) -> str:
    """What to keep by the group `trainer` of a config: last, best or all."""
    return str(trainer.get("keep") or trainer["headline"])
