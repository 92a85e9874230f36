"""What metrics.jsonl has for a tracker: one line for each step, read on as the file grows."""

import os
from pathlib import Path
from typing import Any, BinaryIO

from rbp.files import is_number, read_line
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import is_of_step

ELAPSED = "seconds_of_training"  # of all epochs so far, without evaluation; added to the lines of epochs


def metrics_after(step: int, folder: Path) -> list[dict[str, Any]]:
    """Return what the run's metrics.jsonl has of later steps, see `MetricsReader`."""
    return MetricsReader(folder, step).new_lines()


class MetricsReader:
    """Reads a run's metrics.jsonl, in order and each step once.

    A line repeated after a kill has a step that was there before, and is left out. Where the last step of an
    epoch has a line of its own, that and the epoch's become one, and the first waits for the second: wandb
    takes a step only once.

    Args:
        folder: The run folder.
        step: The last step that is known already.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.file, self.step = RunFolder(folder).metrics, step
        self.stream: BinaryIO | None = None
        self.rest = b""
        self.epoch, self.elapsed = 0, 0.0
        self.last_of_epoch: dict[str, Any] = {}

    def new_lines(self) -> list[dict[str, Any]]:
        """Return the lines of later steps that were written since the last call."""
        found: list[dict[str, Any]] = []
        for raw in self._raw_lines():
            line = read_line(raw)
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                continue
            line = self._with_elapsed(line)
            if line["step"] <= self.step:
                continue
            if _is_last_of_epoch(line):
                self.last_of_epoch = line
                continue
            found += self._merged(line)
        return found

    def _raw_lines(self) -> list[bytes]:
        """Return the complete lines since the last call; all of them if the file is another one by now."""
        try:
            there = os.stat(self.file)
        except FileNotFoundError:
            return []
        if self.stream is None or not os.path.samestat(os.fstat(self.stream.fileno()), there):
            self._start_over()
            self.stream = self.file.open("rb")
        *lines, self.rest = (self.rest + self.stream.read()).split(b"\n")
        return lines

    def _start_over(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.rest, self.last_of_epoch = b"", {}
        self.epoch, self.elapsed = 0, 0.0

    def _with_elapsed(self, line: dict[str, Any]) -> dict[str, Any]:
        """Add the seconds of training to an epoch's line; as in the report, not after one that is lost."""
        seconds = line.get("seconds")
        if is_of_step(line) or line.get("epoch") != self.epoch + 1 or not is_number(seconds):
            return line
        self.epoch, self.elapsed = self.epoch + 1, self.elapsed + seconds
        return line | {ELAPSED: self.elapsed}

    def _merged(self, line: dict[str, Any]) -> list[dict[str, Any]]:
        before, self.last_of_epoch, self.step = self.last_of_epoch, {}, line["step"]
        if not before:
            return [line]
        # The epoch's own line may be lost.
        return [before | line] if before["step"] == line["step"] else [before, line]


def _is_last_of_epoch(line: dict[str, Any]) -> bool:
    epoch = line.get("epoch")
    return is_of_step(line) and is_number(epoch) and float(epoch).is_integer()
