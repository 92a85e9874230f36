"""The best checkpoint of a finished run as an artifact in wandb (`tracker.checkpoints`)."""

from pathlib import Path
from typing import Any

import wandb

from rbp.errors import CheckpointError
from rbp.runs.checkpoints import BEST, choose_checkpoint
from rbp.runs.folder import RunFolder
from rbp.track.identity import wandb_id


def best_checkpoint(config: dict[str, Any], folder: Path) -> Path | None:
    """Return a finished run's best checkpoint, or the one that counts if `trainer.keep` left no other."""
    checkpoints = RunFolder(folder).checkpoints
    if (checkpoints / BEST).exists():
        return checkpoints / BEST
    try:
        return choose_checkpoint(checkpoints, config["trainer"])
    except CheckpointError:
        return None


def log_checkpoint(run: Any, file: Path, folder: Path, result: dict[str, Any]) -> None:
    """Log a checkpoint as an artifact of a wandb run.

    Offline, wandb notes the path of the file itself, from which `rbp sync` uploads it.

    Args:
        run: The wandb run.
        file: The checkpoint; it must stay as it is.
        folder: The run folder.
        result: The content of result.json.
    """
    best = file.name == BEST
    epoch, accuracy = ("best_epoch", "best_test_acc") if best else ("epochs", "test_acc")
    about = {"epoch": result.get(epoch), "test_acc": result.get(accuracy), "run": folder.name}
    artifact = wandb.Artifact(f"checkpoint-{wandb_id(folder)}", type="model", metadata=about)
    artifact.add_file(str(file), name=file.name, policy="immutable")  # otherwise wandb makes a copy
    run.log_artifact(artifact, aliases=["latest", file.stem])
