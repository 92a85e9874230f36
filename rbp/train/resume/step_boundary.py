"""Work done between two training steps: progress updates, periodic checkpoints, and stops on request."""

import time
from enum import IntEnum

from rbp.errors import Preempted
from rbp.runs.folder import RunFolder
from rbp.train.resume.checkpoint import random_states, restore_random_states, save_checkpoint
from rbp.train.resume.history import History
from rbp.train.resume.interrupt import Interruption
from rbp.train.state import TrainState, batches_per_epoch, state_of
from rbp.train.telemetry.record import Record


class Action(IntEnum):
    """What to do at a step boundary; a greater value includes the smaller ones."""

    NOTHING = 0
    SAVE = 1
    STOP = 2


class StepBoundary:
    """The boundary between two training steps of a run.

    A checkpoint in the middle of an epoch contains the epoch's sums so far (`History.part`).
    """

    def __init__(
        self,
        training: TrainState,
        history: History,
        run: RunFolder,
        record: Record,
        interruption: Interruption,
    ) -> None:
        self.training, self.history, self.run, self.record = training, history, run, record
        self.interruption = interruption
        self.steps_per_epoch = batches_per_epoch(training)
        self.random_before_evaluation = random_states(training.device)
        self._note_saved()

    def due(self) -> Action:
        """Return the action that is due on any rank; all ranks get the same answer."""
        return Action(self.training.ranks.agree(self._own_due()))

    def _own_due(self) -> Action:
        """Return the action that is due on this rank."""
        if self.interruption.reason is not None:
            return Action.STOP
        minutes = self.training.cfg.trainer.checkpoint_minutes
        due = minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes
        return Action.SAVE if due else Action.NOTHING

    def save_or_stop(self, due: Action) -> None:
        """Update the progress, and save a checkpoint and stop if due. The history must be up to date.

        Raises:
            Preempted: If `due` is STOP.
        """
        self.record.progress.update(self.history, self.steps_per_epoch)
        if due is Action.NOTHING:
            return
        if self._place() != self.saved_place:
            self.save(best=False)
        if due is Action.STOP:
            where = f"epoch {self.history.epochs + 1}, after {self.history.part.batches} batches"
            raise Preempted(f"{self.interruption.reason or 'asked to stop'}: stopped in {where}")

    def before_evaluation(self) -> None:
        """Remember the random states to which an interrupted evaluation goes back."""
        self.random_before_evaluation = random_states(self.training.device)

    def in_evaluation(self) -> None:
        """Stop between two batches of an evaluation if requested.

        The resumed run repeats the evaluation from its start.
        """
        if self.due() is Action.STOP:
            restore_random_states(self.random_before_evaluation, self.training.device)
            self.save_or_stop(Action.STOP)

    def save(self, best: bool) -> None:
        """Write a checkpoint of the current state; all ranks must call this together."""
        state = state_of(self.training, self.history)
        if self.training.ranks.first:
            save_checkpoint(self.run.checkpoints, state, best)
        self._note_saved()

    def _note_saved(self) -> None:
        self.saved_place, self.saved_at = self._place(), time.monotonic()

    def _place(self) -> tuple[int, int]:
        """Return the position of the run: completed epochs, and batches of the next one."""
        return self.history.epochs, self.history.part.batches
