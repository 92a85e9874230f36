"""What a person sees of a run: a bar on a terminal, plain lines elsewhere."""

import time
from typing import Protocol

from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rbp.output import Screen, say


class Display(Protocol):
    """Follows a run. `batch`: so many of the epoch's are done, with their mean loss and accuracy so far."""

    def batch(self, epoch: int, batch: int, loss: float, accuracy: float) -> None: ...

    def epoch(self, line: str) -> None: ...

    def message(self, line: str) -> None: ...

    def close(self) -> None: ...


def make_display(cfg: DictConfig, batches: int, epochs_done: int) -> Display:
    """The display of trainer.progress, for epochs of so many batches."""
    kind = cfg.trainer.progress
    if kind == "auto":
        kind = "bar" if Screen().is_terminal and not Screen().is_dumb_terminal else "plain"
    if kind == "bar":
        return _Bar(cfg, batches, epochs_done)
    return _Plain(cfg, batches, quiet=kind == "none")


class _Bar:
    """One bar over all batches of the run, with loss, accuracy, images per second and time left."""

    def __init__(self, cfg: DictConfig, batches: int, epochs_done: int) -> None:
        self.cfg, self.batches = cfg, batches
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
            figures=f"loss {loss:.3f}  acc {100 * accuracy:.1f}%  {speed:,.0f} img/s",
        )

    def epoch(self, line: str) -> None:
        """The bar moves on; the line is in log.txt."""

    def message(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self.progress.stop()


class _Plain:
    """A line an epoch, and one every trainer.log_every batches in long epochs."""

    def __init__(self, cfg: DictConfig, batches: int, quiet: bool) -> None:
        self.cfg, self.batches, self.quiet = cfg, batches, quiet

    def batch(self, epoch: int, batch: int, loss: float, accuracy: float) -> None:
        if batch % self.cfg.trainer.log_every == 0 and batch < self.batches:
            where = f"epoch {epoch}/{self.cfg.trainer.epochs} batch {batch}/{self.batches}"
            self.message(f"{where}  loss {loss:.4f}  acc {100 * accuracy:.2f}%")

    def epoch(self, line: str) -> None:
        self.message(line)

    def message(self, line: str) -> None:
        if not self.quiet:
            say(line)

    def close(self) -> None:
        """Nothing to clear away."""
