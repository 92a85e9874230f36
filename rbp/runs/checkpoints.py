"""Name the checkpoints in a run's folder; decide which one counts, and which can go when the run is done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbp.errors import CheckpointError, ConfigError

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
_KEPT = {"last": {LAST}, "best": {BEST}, "all": {LAST, PREVIOUS, BEST}}
KEEP = tuple(_KEPT)
WEIGHTS = {"best": BEST, "last": LAST}


def choose_checkpoint(folder: Path, trainer: Mapping[str, Any], weights: str | None = None) -> Path:
    """Return the checkpoint of a run to take its weights from.

    Args:
        folder: The folder of the checkpoints.
        trainer: The group `trainer` of the run's config.
        weights: best or last; None takes the one whose accuracy counts (`trainer.headline`), or the other one
            if only that was kept.

    Raises:
        ConfigError: `weights` is neither best, last nor None.
        CheckpointError: The run has no such checkpoint.
    """
    if weights is not None and weights not in WEIGHTS:
        raise ConfigError(f"weights={weights}: must be best, last or None (the one whose accuracy counts)")
    there = [name for name, file in WEIGHTS.items() if (folder / file).exists()]
    if not there:
        raise CheckpointError(
            f"{folder.parent}: this run has no checkpoint: it was not trained yet, or they were removed; "
            "start it again by the command that made it, after deleting the folder if the run is done"
        )
    if weights is not None and weights not in there:
        raise CheckpointError(
            f"{folder / WEIGHTS[weights]}: no such checkpoint: the run kept only {there[0]} (trainer.keep, "
            f"or else trainer.headline); take weights {there[0]}"
        )
    counts = str(trainer["headline"])
    return folder / WEIGHTS[weights or (counts if counts in there else there[0])]


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
