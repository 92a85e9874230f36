"""The trainer's end of a tracker: starts the process that follows the run folder, and lets it finish.

Training and tracker share nothing but the run folder and a pipe whose end says that the run is over, so that
a tracker that fails, hangs or is full neither stops a run nor slows its steps.
"""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from omegaconf import DictConfig

import rbp
from rbp.output import say
from rbp.runs.status import current_status

LOG = "tracker.log"
# Seconds that a run waits at its end for the tracker; a preempted one has to be gone soon.
PATIENCE, PATIENCE_PREEMPTED = 30.0, 10.0
# Of the environment: what would make wandb take another run for this one.
_NOT_OURS = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SERVICE", "WANDB_RESUME", "WANDB_RUN_GROUP")


class TrackerProcess:
    """As a context around a run: what `start` has started is told at its end that the run is over."""

    def __init__(self, cfg: DictConfig, folder: Path) -> None:
        self.cfg, self.folder = cfg, folder.absolute()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start following the run folder, from now on and what is in it already."""
        # WANDB_MODE=disabled is how wandb itself is switched off from outside.
        mode = mode_of(self.cfg.tracker.mode)
        if self.cfg.tracker.name == "none" or mode == "disabled":
            return
        command = [sys.executable, "-m", "rbp.track.follow", str(self.folder)]
        try:
            with (self.folder / LOG).open("ab") as log:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=_environment(mode),
                    start_new_session=True,  # Ctrl-C at the terminal is for the run alone
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
            say(f"tracker={self.cfg.tracker.name}: still busy, left to itself; see {self.folder / LOG}")
            return
        if code != 0:
            say(f"tracker={self.cfg.tracker.name}: {_last_line(self.folder / LOG)} ({self.folder / LOG})")


def mode_of(configured: str) -> str:
    """The mode that holds: WANDB_MODE=disabled or offline keeps in what a config would let out."""
    outside = os.environ.get("WANDB_MODE", "")
    return outside if outside in ("disabled", "offline") and configured != "disabled" else configured


def _environment(mode: str) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if key not in _NOT_OURS}
    if mode != "online":  # nothing leaves the machine, reports of wandb's own errors included
        env.pop("WANDB_API_KEY", None)
        env["WANDB_ERROR_REPORTING"] = "false"
    root = str(Path(rbp.__file__).parents[1])  # the same code, wherever the run was started
    return env | {
        "PYTHONPATH": os.pathsep.join(filter(None, (root, env.get("PYTHONPATH")))),
        "RBP_MODE": mode,
    }


def _last_line(file: Path) -> str:
    try:
        lines = file.read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    stripped = (line.strip() for line in reversed(lines) if "errors.pydantic.dev" not in line)  # only a link
    return next(filter(None, stripped), "failed")
