"""Progress display of a run: a bar on a terminal, plain lines elsewhere."""

import time
from typing import Protocol

from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rbp.terminal.output import Screen, say, show

_WIDE = 100  # columns that have room for the speed beside the bar


class Display(Protocol):
    """Interface of a progress display.

    `batch` is called with the epoch's number (from 1), the number of batches done in it, and their mean loss
    and accuracy. `epoch` is called with a line that sums up an epoch, `message` with any other line to show.
    """

    def batch(self, epoch: int, batch: int, loss: float, accuracy: float) -> None: ...

    def epoch(self, line: str) -> None: ...

    def message(self, line: str) -> None: ...

    def close(self) -> None: ...


def make_display(cfg: DictConfig, batches: int, epochs_done: int) -> Display:
    """Return the display chosen by `trainer.progress`.

    Args:
        cfg: The run's config.
        batches: Batches per epoch.
        epochs_done: Epochs completed before this process started.
    """
    kind = cfg.trainer.progress
    if kind == "auto":
        kind = "bar" if Screen().is_terminal and not Screen().is_dumb_terminal else "plain"
    if kind == "bar":
        return _Bar(cfg, batches, epochs_done)
    return _Plain(cfg, batches, quiet=kind == "none")


class _Bar:
    """One progress bar over all batches of the run, with loss, accuracy, images per second and time left."""

    def __init__(self, cfg: DictConfig, batches: int, epochs_done: int) -> None:
        self.cfg, self.batches = cfg, batches
        self.parts: int | None = None
        self.start, self.done_before = time.perf_counter(), epochs_done * batches
        columns = (
            TextColumn("{task.description}"),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
        )
        self.progress = Progress(*columns, console=Screen(), transient=True, refresh_per_second=4)
        total = batches * cfg.trainer.epochs
        self.task = self.progress.add_task("", total=total, completed=self.done_before, figures="starting")
        self.progress.start()

    def batch(self, epoch: int, batch: int, loss: float, accuracy: float) -> None:
        done = (epoch - 1) * self.batches + batch
        speed = (done - self.done_before) * self.cfg.trainer.batch_size / (time.perf_counter() - self.start)
        self.progress.update(
            self.task,
            completed=done,
            description=f"epoch {epoch}/{self.cfg.trainer.epochs}",
            figures=f"loss {loss:.3f}  train acc {100 * accuracy:.1f}%"
            + (f"  {speed:,.0f} img/s" if self.progress.console.width >= _WIDE else ""),
        )

    def epoch(self, line: str) -> None:
        """Show as many parts of the line, above the bar, as fit a row; log.txt has all of it."""
        parts = line.split("  ")[: self.parts]
        while len("  ".join(parts)) > self.progress.console.width and len(parts) > 1:
            parts.pop()
        self.parts = len(parts)  # of later epochs not more, so that they stand below each other
        self.message("  ".join(parts))

    def message(self, line: str) -> None:
        show(line, self.progress.console)

    def close(self) -> None:
        self.progress.stop()


class _Plain:
    """One line per epoch and, in long epochs, one every `trainer.log_every` batches."""

    def __init__(self, cfg: DictConfig, batches: int, quiet: bool) -> None:
        self.cfg, self.batches, self.quiet = cfg, batches, quiet

    def batch(self, epoch: int, batch: int, loss: float, accuracy: float) -> None:
        if batch % self.cfg.trainer.log_every == 0 and batch < self.batches:
            where = f"epoch {epoch}/{self.cfg.trainer.epochs} batch {batch}/{self.batches}"
            self.message(f"{where}  loss {loss:.4f}  train acc {100 * accuracy:.2f}%")

    def epoch(self, line: str) -> None:
        self.message(line)

    def message(self, line: str) -> None:
        if not self.quiet:
            say(line)

    def close(self) -> None:
        """Do nothing: there is nothing to clean up."""
