"""The files that a run writes to its folder while training: status with heartbeat, metrics, log, result."""

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from rbp.errors import ConfigError, FolderBusy, Preempted, UserError
from rbp.files import append_line, is_number, read_lines, write_bytes, write_json
from rbp.locks import try_lock
from rbp.runs.alignment import read_alignment
from rbp.runs.config import write_config
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import is_of_step
from rbp.runs.start import write_start
from rbp.runs.status import Status, write_status
from rbp.train.ranks import Ranks
from rbp.train.telemetry.progress import Progress, job_id

HEARTBEAT_SECONDS = 5.0
MARKING_SECONDS = 2.0  # wait for the lock: submitting or cancelling a run also takes it briefly
RESERVED_BYTES = 64 * 1024  # bytes reserved on disk


class Record:
    """The record of a run in its folder: holds the folder's lock, and keeps the files up to date.

    Use it as a context manager. Entering takes the lock and sets the status `running`; leaving sets `done`,
    or the status and reason of the exception that ended the run.

    Entering raises ConfigError if the folder cannot be written, and FolderBusy if another process works in
    it.
    """

    def __init__(self, folder: RunFolder, cfg: DictConfig, start: Mapping[str, Any] | None = None) -> None:
        self.folder, self.cfg, self._start = folder, cfg, start
        self._values: Any = OmegaConf.to_container(cfg)
        self.started = time.time()
        self.progress = Progress(cfg.trainer.epochs)
        # Reserved space, freed at the end so that a run that fills the disk can still write its status.
        self._room = folder.path / ".room"
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder)
            self._room.write_bytes(bytes(RESERVED_BYTES))
            write_config(self.folder.config, self._values)
            if self._start is not None:
                write_start(self.folder.path, self._start)
            self._say("running")
        except OSError as error:
            raise ConfigError(
                f"runs_dir={self.cfg.runs_dir}: {self.folder.path} cannot be written: {error.strerror}; "
                "choose another folder with runs_dir=PATH"
            ) from error
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._heart.join()
        try:
            try:
                self._tell_end(error)
            except OSError:  # the disk may be full: free the reserved space and try again
                self._room.unlink(missing_ok=True)
                self._tell_end(error)
            self._room.unlink(missing_ok=True)
        except OSError as full:  # do not mask the exception that ended the run
            print(f"{self.folder.path}: {full}", file=sys.stderr)
        finally:
            self._lock.release()

    def _tell_end(self, error: BaseException | None) -> None:
        """Write the final status, by the exception that ended the run."""
        if error is None:
            self._say("done")
        elif isinstance(error, KeyboardInterrupt):
            self._say("cancelled", error="interrupted")
        elif isinstance(error, Preempted):
            self._say("preempted")
            self.log(str(error))
        else:
            self._tell_failure(error)

    def _tell_failure(self, error: BaseException) -> None:
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        self._say("failed", error=message)
        self.log(f"failed: {message}")
        if not isinstance(error, UserError):
            self.log("".join(traceback.format_exception(error)))

    def log(self, line: str) -> None:
        """Append a line with a timestamp to log.txt."""
        with self.folder.log.open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def metrics(self, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl; that of an epoch is waited for, until it is on the disk."""
        append_line(self.folder.metrics, values, sync=not is_of_step(values))

    def cut_metrics(self, epochs: int, steps: int) -> list[int]:
        """Keep only the lines of so many epochs and training steps in metrics.jsonl, to match a checkpoint.

        Returns:
            The epochs whose line is missing or damaged.
        """
        found: dict[tuple[float, bool], dict[str, Any]] = {}
        for line in read_lines(self.folder.metrics):
            epoch, step = line.get("epoch"), line.get("step")
            if is_of_step(line):
                if is_number(epoch) and is_number(step) and step <= steps:
                    found[epoch, False] = line
            elif type(epoch) is int and 1 <= epoch <= epochs:
                found[epoch, True] = line
        content = "".join(json.dumps(found[place]) + "\n" for place in sorted(found)).encode()
        if self.folder.metrics.exists() and self.folder.metrics.read_bytes() != content:
            write_bytes(self.folder.metrics, content)
        return [n for n in range(1, epochs + 1) if (n, True) not in found]

    def alignment(self, values: dict[str, Any]) -> None:
        """Append a line to alignment.jsonl, and wait until it is on the disk."""
        append_line(self.folder.alignment, values)

    def cut_alignment(self, epochs: int) -> None:
        """Keep one line in alignment.jsonl for each of so many epochs, to match a checkpoint."""
        if not self.folder.alignment.exists():
            return
        lines = [line for line in read_alignment(self.folder.alignment) if line["epoch"] <= epochs]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        if self.folder.alignment.read_bytes() != content:
            write_bytes(self.folder.alignment, content)

    def result(self, values: dict[str, Any]) -> None:
        """Write result.json, which marks the run as done."""
        write_json(self.folder.result, values)

    def _beat(self) -> None:
        """Rewrite the status every few seconds until the run ends."""
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._say("running")
            except OSError as error:  # if the disk is full, training fails by itself on its next write
                print(f"{self.folder.status}: {error}", file=sys.stderr)

    def _say(self, state: str, error: str | None = None) -> None:
        """Write status.json."""
        now = time.time()
        status = Status(
            state=state,
            heartbeat=now,
            started=self.started,
            ended=None if state == "running" else now,
            host=socket.gethostname(),
            pid=os.getpid(),
            job_id=job_id(),
            error=error,
            progress=self.progress.as_values(),
        )
        write_status(self.folder.path, status)


class NullRecord(Record):
    """The record of a rank that is not the first: writes no files.

    An error is printed to stderr, which goes to the log of the rank's task.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Preempted):
            traceback.print_exception(error)

    def log(self, line: str) -> None:
        """Do nothing: the first rank writes it."""

    def metrics(self, values: dict[str, Any]) -> None:
        """Do nothing: the first rank writes them."""

    def cut_metrics(self, epochs: int, steps: int) -> list[int]:
        """Do nothing: the first rank cuts them."""
        return []

    def alignment(self, values: dict[str, Any]) -> None:
        """Do nothing: the first rank writes it."""

    def cut_alignment(self, epochs: int) -> None:
        """Do nothing: the first rank cuts it."""

    def result(self, values: dict[str, Any]) -> None:
        """Do nothing: the first rank writes it."""


def make_record(
    folder: RunFolder, cfg: DictConfig, ranks: Ranks, start: Mapping[str, Any] | None = None
) -> Record:
    """Return the record of a run for this rank: a Record on the first rank, a NullRecord on the others."""
    return Record(folder, cfg, start) if ranks.first else NullRecord(folder, cfg)


def _lock(folder: RunFolder) -> FileLock:
    """Take the folder's lock for this process. Raises FolderBusy if another process holds it."""
    holder = f"pid {os.getpid()} on {socket.gethostname()}"
    if (lock := try_lock(folder.lock, wait=MARKING_SECONDS, holder=holder)) is not None:
        return lock
    other = folder.lock.read_text("utf-8").strip() or "unknown"
    raise FolderBusy(
        f"{folder.path}: another process works in this run folder ({other}); wait for it or stop it"
    )
