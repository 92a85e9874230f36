"""What a run writes into its folder while it works: status with a heartbeat, metrics, log, result."""

import json
import os
import socket
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Any, Self

from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from rbp.errors import ConfigError, FolderBusy, Preempted, UserError
from rbp.files import append_line, read_lines, write_bytes, write_json
from rbp.locks import try_lock
from rbp.runs.config import write_config
from rbp.runs.folder import RunFolder
from rbp.runs.status import Status, write_status
from rbp.train.ranks import Ranks
from rbp.train.telemetry.progress import Progress, job_id

HEARTBEAT_SECONDS = 5.0
MARKING_SECONDS = 2.0  # who submits or cancels a run holds its lock too, for the instant of a write
ROOM = 64 * 1024  # bytes


class Record:
    """Holds a run's folder while a run works in it, and keeps its files true to what happens.

    As a context: takes the folder's lock and says `running`; at the end says `done`, or what went wrong.
    Raises ConfigError if the folder cannot be written, FolderBusy if another process works in it.
    """

    def __init__(self, folder: RunFolder, cfg: DictConfig) -> None:
        self.folder, self.cfg = folder, cfg
        self._values: Any = OmegaConf.to_container(cfg)
        self.started = time.time()
        self.progress = Progress(cfg.trainer.epochs)
        self._room = folder.path / ".room"  # kept free for the last words of a run that fills the disk
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder)
            self._room.write_bytes(bytes(ROOM))
            write_config(self.folder.config, self._values)
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
            except OSError:  # a full disk may be what went wrong
                self._room.unlink(missing_ok=True)
                self._tell_end(error)
            self._room.unlink(missing_ok=True)
        except OSError as full:  # the error itself must come through
            print(f"{self.folder.path}: {full}", file=sys.stderr)
        finally:
            self._lock.release()

    def _tell_end(self, error: BaseException | None) -> None:
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
        """Add a line to log.txt, with the time."""
        with self.folder.log.open("a") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def metrics(self, values: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        append_line(self.folder.metrics, values)

    def cut_metrics(self, epochs: int) -> list[int]:
        """Keep the lines of the first `epochs` epochs: what a checkpoint goes on from.

        Returns the epochs whose line is not there, or damaged.
        """
        lines = {n: line for line in read_lines(self.folder.metrics) if type(n := line.get("epoch")) is int}
        wanted = range(1, epochs + 1)
        content = "".join(json.dumps(lines[n]) + "\n" for n in wanted if n in lines).encode()
        if self.folder.metrics.exists() and self.folder.metrics.read_bytes() != content:
            write_bytes(self.folder.metrics, content)
        return [n for n in wanted if n not in lines]

    def result(self, values: dict[str, Any]) -> None:
        """Write result.json: with it, the run is done."""
        write_json(self.folder.result, values)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._say("running")
            except OSError as error:  # a full disk: training itself will tell when it has to write
                print(f"{self.folder.status}: {error}", file=sys.stderr)

    def _say(self, state: str, error: str | None = None) -> None:
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
    """The record of a rank that is not the first: writes nothing; an error goes to stderr, its task's log."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Preempted):
            traceback.print_exception(error)

    def log(self, line: str) -> None:
        """The first rank's."""

    def metrics(self, values: dict[str, Any]) -> None:
        """The first rank's."""

    def cut_metrics(self, epochs: int) -> list[int]:
        return []

    def result(self, values: dict[str, Any]) -> None:
        """The first rank's."""


def make_record(folder: RunFolder, cfg: DictConfig, ranks: Ranks) -> Record:
    """Of a run that one process trains, or several together."""
    return Record(folder, cfg) if ranks.first else NullRecord(folder, cfg)


def _lock(folder: RunFolder) -> FileLock:
    """Take the folder for this process."""
    holder = f"pid {os.getpid()} on {socket.gethostname()}"
    if (lock := try_lock(folder.lock, wait=MARKING_SECONDS, holder=holder)) is not None:
        return lock
    other = folder.lock.read_text().strip() or "unknown"
    raise FolderBusy(
        f"{folder.path}: another process works in this run folder ({other}); wait for it or stop it"
    )
