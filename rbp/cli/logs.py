"""`rbp logs`: what a run and its job have printed, and with -f what they go on to print."""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

from rbp.cli.picked import PickedRun, add_paths, pick_all
from rbp.errors import ConfigError
from rbp.runs.folder import RunFolder
from rbp.runs.status import read_status
from rbp.sweep.state.jobs import LOCAL, is_slurm_job
from rbp.sweep.state.states import RunState, observe
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.terminal.output import say

LOOK = 2.0  # seconds between two looks; each queries Slurm once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp logs`."""
    add_paths(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")


def command(args: argparse.Namespace) -> int:
    """Print the log of one run and the output of its job.

    Raises:
        ConfigError: The arguments name no run, or several.
    """
    run = _one(args.words)
    output = Output(run.folder)
    (state,) = observe([run.folder])
    say(_headline(run, state))
    output.print_new()
    if (state.status.job_id or "").startswith(LOCAL):
        files = sorted(SweepFolder(run.folder.parent).jobs.glob("local-*.log"))
        say(f"The output of its process is in {' or '.join(map(str, files))}")
    while args.follow and state.at_work:
        time.sleep(LOOK)
        (state,) = observe([run.folder])  # before the files, so that nothing written until the end is missed
        output.print_new()
        if not state.at_work:
            say(_headline(run, state))
    return 0


def _one(words: list[str]) -> PickedRun:
    picked = [run for runs in pick_all(words).values() for run in runs]
    if len(picked) > 1:
        some = "; ".join(run.label for run in picked[:3])
        apart = next((f"{k}={v}" for k, v in picked[0].keys.items() if picked[1].keys.get(k) != v), "seed=0")
        raise ConfigError(
            f"{' '.join(words)}: is {len(picked)} runs ({some}{' ...' if picked[3:] else ''}); "
            f"name one run in it, by its folder or by its keys, as in {apart}"
        )
    return picked[0]


def _headline(run: PickedRun, state: RunState) -> str:
    return f"{run.folder.name}: {state.name}{': ' + state.reason if state.reason else ''}"


@dataclass
class Output:
    """The files that a run and its job write, each printed up to some byte.

    Attributes:
        folder: The run's folder.
        printed: The number of bytes printed of each file.
        last: The file printed last; another one is announced.
    """

    folder: Path
    printed: dict[Path, int] = field(default_factory=dict)
    last: Path | None = None

    def print_new(self) -> None:
        """Print what has been written since the last call."""
        for file in self._files():
            if text := self._new(file):
                if file != self.last and file.name != RunFolder(self.folder).log.name:
                    say(f"--- {file}")
                self.last = file
                say(text.rstrip("\n"))

    def _files(self) -> list[Path]:
        run = RunFolder(self.folder)
        job = read_status(self.folder).job_id or ""
        of_job = SweepFolder(self.folder.parent).jobs.glob(f"{job}_*log.out") if is_slurm_job(job) else []
        return [*([run.log] if run.log.exists() else []), *sorted(of_job)]

    def _new(self, file: Path) -> str:
        """Return what was written to a file since the last call."""
        with file.open("rb") as stream:
            stream.seek(self.printed.get(file, 0))
            content = stream.read()
        self.printed[file] = self.printed.get(file, 0) + len(content)
        return content.decode(errors="replace")
