"""Starting the process that follows a run folder for a tracker, and waiting for it at the end of the run.

Training and tracker share only the run folder and a pipe, whose closing means that the run is over. A tracker
that fails, hangs or has no disk space can therefore neither stop a run nor slow its steps.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from omegaconf import DictConfig

import rbp
from rbp.runs.status import current_status
from rbp.terminal.output import say

LOG = "tracker.log"
KEPT_OFFLINE = 3  # exit code of a tracker whose service has not got everything
# Seconds that a run waits for the tracker at its end; a preempted run must exit soon.
PATIENCE, PATIENCE_PREEMPTED = 30.0, 10.0
# Seconds of these that wandb's service may take, so that there is time left to write the steps offline.
GRACE, GRACE_PREEMPTED = 15.0, 4.0
# Environment variables that would make wandb log to another run or service.
_NOT_OURS = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SERVICE", "WANDB_RESUME", "WANDB_RUN_GROUP")


class TrackerProcess:
    """The process that feeds the tracker of a run, as a context manager around the run.

    Leaving the context tells a started process that the run is over and waits for it, but not for ever.
    """

    def __init__(self, cfg: DictConfig, folder: Path) -> None:
        self.cfg, self.folder = cfg, folder.absolute()
        self.process: subprocess.Popen[bytes] | None = None
        self.online = False

    def start(self) -> None:
        """Start following the run folder, including what it already contains.

        Do nothing if no tracker is configured. If the process cannot be started, print why; the run goes on.
        """
        # WANDB_MODE=disabled is wandb's own way to switch it off from the environment.
        mode = mode_of(self.cfg.tracker.mode)
        if self.cfg.tracker.name == "none" or mode == "disabled":
            return
        self.online = self.cfg.tracker.name == "wandb" and mode == "online"
        module = "rbp.track.online" if self.online else "rbp.track.follow"
        command = [sys.executable, "-m", module, str(self.folder)]
        try:
            with (self.folder / LOG).open("ab") as log:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment(mode),
                    start_new_session=True,  # Ctrl-C in the terminal should reach only the run
                )
        except OSError as error:
            say(f"tracker={self.cfg.tracker.name}: cannot be started ({error.strerror}); the run goes on")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is None:
            return
        assert self.process.stdin is not None
        self.process.stdin.close()
        preempted = current_status(self.folder).state == "preempted"
        try:
            code = self.process.wait(PATIENCE_PREEMPTED if preempted else PATIENCE)
        except subprocess.TimeoutExpired:
            send = f"what does not arrive: rbp sync {shlex.quote(str(self.folder))}; " if self.online else ""
            say(f"tracker={self.cfg.tracker.name}: still busy, left to itself; {send}see {self.folder / LOG}")
            return
        if code != 0:
            say(f"tracker={self.cfg.tracker.name}: {last_line(self.folder / LOG)} ({self.folder / LOG})")


def mode_of(configured: str) -> str:
    """Return the tracker mode in effect.

    WANDB_MODE=disabled or offline in the environment overrides a config that would send more.
    """
    outside = os.environ.get("WANDB_MODE", "")
    return outside if outside in ("disabled", "offline") and configured != "disabled" else configured


def environment(mode: str) -> dict[str, str]:
    """Return the environment of the tracker process."""
    env = {key: value for key, value in os.environ.items() if key not in _NOT_OURS}
    if mode != "online":  # nothing may leave the machine, not even wandb's own error reports
        env.pop("WANDB_API_KEY", None)
        env["WANDB_ERROR_REPORTING"] = "false"
    root = str(Path(rbp.__file__).parents[1])  # import the same rbp, whatever the working directory
    return env | {
        "PYTHONPATH": os.pathsep.join(filter(None, (root, env.get("PYTHONPATH")))),
        "RBP_MODE": mode,
        "RBP_GRACE": f"{GRACE} {GRACE_PREEMPTED}",
    }


def last_line(file: Path) -> str:
    """Return the last non-empty line of a log, or "failed"."""
    try:
        lines = file.read_text("utf-8", "replace").split("\n")
    except OSError:
        lines = []
    # pydantic ends its errors with a link.
    stripped = (line.strip() for line in reversed(lines) if "errors.pydantic.dev" not in line)
    return next(filter(None, stripped), "failed")
