"""A disk that is full while a run writes: the run fails and says so, and goes on when there is room."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbp.errors import TrainingError
from rbp.runs.folder import RunFolder
from rbp.train import run as run_module
from rbp.train import train
from rbp.train.resume.checkpoint import load_checkpoint
from tests.support.disk import fill, tiny_disk
from tests.support.run_folders import status_of
from tests.support.training import EVERYTHING, Undisturbed, same_end, short


def full_from(call: int, disk: Path, real: Callable[..., Any]) -> Callable[..., Any]:
    """real, but from its call-th call (from 0) on the disk is full."""
    calls: list[int] = []

    def wrapped(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == call + 1:
            fill(disk)
        return real(*args)

    return wrapped


@pytest.mark.parametrize("before", ["_scores", "save"])
def test_a_run_on_a_disk_that_fills_up_fails_and_goes_on_bit_for_bit_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Undisturbed, before: str
) -> None:
    """Full before a line of metrics is written, and before a checkpoint is."""
    with tiny_disk(tmp_path / "disk", "2m") as disk:
        cfg, run = short(disk, *EVERYTHING)
        with monkeypatch.context() as patch:
            place = run_module if before == "_scores" else run_module.StepBoundary
            patch.setattr(place, before, full_from(1, disk, getattr(place, before)))
            with pytest.raises(TrainingError, match=r"cannot be .*written: No space left on device; earlier"):
                train(cfg, run.path)
        assert failed_for_room(run)
        kept = load_checkpoint(run.checkpoints / "last.pt")["history"]
        assert kept["epochs"] == 1 and not list(run.path.rglob("*.tmp"))
        (disk / "filler").unlink()
        train(cfg, run.path)
        same_end(undisturbed(*EVERYTHING), run)


def failed_for_room(run: RunFolder) -> bool:
    status = status_of(run)
    return status["state"] == "failed" and "No space left on device" in status["error"]
