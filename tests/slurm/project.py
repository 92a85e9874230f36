"""A fresh copy of the project, as a user's clone, and its sweeps: what scenarios start and watch."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rbp.config.composition.places import ROOT
from rbp.runs.folder import RunFolder
from rbp.train.resume.checkpoint import LAST, load_checkpoint
from tests.slurm.cluster import Cluster
from tests.support.run_folders import metrics, status_of, without_timings

# Seconds to wait for what takes some ten on a quiet machine.
PATIENCE = 240
# Cells of some seconds of training: long enough for something to happen to them. On one thread: two run
# side by side, and their bits are compared.
SHORT = {
    "dataset": "digits",
    "T": 2,
    "trainer.device": "cpu",
    "trainer.threads": 1,
    "trainer.batch_size": 32,
    "trainer.eval_batch_size": 180,
    "trainer.progress": "none",
    "trainer.limit_batches": 12,
    "trainer.epochs": 12,
}
# What every scenario asks of a job here; more options follow.
ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.gpus=0", "hydra.launcher.cpus=1")


class Project:
    """A git repository of what git knows here, and what this working tree has changed in it."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.env = dict(cluster.env)  # of what is started here
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in files.decode().split("\0")[:-1]:
            if not name.startswith("tests/") and (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((ROOT / name).read_bytes())
        for command in ("init -q", "add -A", "-c user.name=t -c user.email=t@example.org commit -q -m copy"):
            subprocess.run(["git", *command.split()], cwd=folder, check=True)

    def write_sweep(self, name: str, grid: dict[str, list[Any]], **fixed: Any) -> None:
        """sweeps/NAME.yaml: grid over SHORT cells. In the keys of fixed, __ stands for a dot."""
        changes = {key.replace("__", "."): value for key, value in fixed.items()}
        sweep = {"name": name, "about": "a test", "fixed": {**SHORT, **changes}, "grid": grid}
        (self.folder / "sweeps" / f"{name}.yaml").write_text(json.dumps(sweep))  # JSON is YAML

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """python launch.py with arguments, in this folder."""
        return self._start(sys.executable, "launch.py", *arguments)

    def launch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._finish(self.start(*arguments))

    def rbp(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """rbp with arguments: status, retry, cancel, logs, report."""
        command = [sys.executable, "-c", "import rbp.cli, sys; sys.exit(rbp.cli.main())"]
        return self._finish(self._start(*command, *arguments))

    def in_a_job(self, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        """python launch.py with arguments, as one types it in an interactive job that has these variables."""
        shell = ["srun", "-n1", "-c1", "env", *(f"{key}={value}" for key, value in variables.items())]
        return self._finish(self._start(*shell, sys.executable, "launch.py", *arguments))

    def submit(self, sweep: str, *arguments: str) -> None:
        """Submit a sweep to the cluster and do not wait for it."""
        done = self.launch(f"sweeps={sweep}", *ON_SLURM, "wait=false", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def run_undisturbed(self, sweep: str) -> Path:
        """Run a sweep in one process, elsewhere; the folder of its runs."""
        done = self.launch(f"sweeps={sweep}", "runs_dir=undisturbed")
        assert done.returncode == 0, done.stdout + done.stderr
        return self.folder / "undisturbed" / sweep

    def cells(self, sweep: str) -> list[RunFolder]:
        """The run folders of a sweep, by name."""
        return [RunFolder(file.parent) for file in sorted(self.runs(sweep).glob("*/status.json"))]

    def cell(self, sweep: str, part: str) -> RunFolder:
        """The run folder whose name has a part such as m-bptt-s0; there once it is submitted."""
        self.cluster.wait_for(lambda: self._named(sweep, part) is not None, f"a cell {part} of {sweep}", 180)
        found = self._named(sweep, part)
        assert found is not None
        return found

    def _named(self, sweep: str, part: str) -> RunFolder | None:
        return next((run for run in self.cells(sweep) if f"-{part}-" in run.path.name), None)

    def runs(self, sweep: str) -> Path:
        return self.folder / "runs" / sweep

    def states(self, sweep: str) -> list[str]:
        return [status_of(run)["state"] for run in self.cells(sweep)]

    def wait_until_done(self, sweep: str, cells: int) -> None:
        self.wait_for(lambda: self.states(sweep) == ["done"] * cells, sweep, f"{cells} cells to be done")

    def wait_for_epoch(self, run: RunFolder, epoch: int) -> None:
        """Until the run has written an epoch's line: its process is past its imports and in mid-training."""

        def reached() -> bool:
            return run.metrics.exists() and run.metrics.read_text().count("\n") >= epoch

        self.wait_for(reached, run.path.parent.name, f"epoch {epoch} of {run.path.name}")

    def wait_for(self, condition: Callable[[], bool], sweep: str, what: str) -> None:
        """Until condition holds; if it does not, tells of the cluster and what the sweep's jobs said."""
        try:
            self.cluster.wait_for(condition, what, PATIENCE)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.told(sweep)}") from None

    def told(self, sweep: str) -> str:
        """States, logs, and what the jobs printed."""
        runs, jobs = self.runs(sweep), self.runs(sweep) / ".sweep" / "jobs"
        files = sorted([*runs.glob("*/status.json"), *runs.glob("*/log.txt"), *jobs.glob("*.out")])
        return "\n".join(f"== {file}\n{file.read_text()}" for file in files)

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            arguments,
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _finish(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=2 * PATIENCE)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def job_of(run: RunFolder) -> str:
    return str(status_of(run)["job_id"])


def assert_as_undisturbed(runs: list[RunFolder], undisturbed: Path) -> None:
    """All that a run leaves is to the last bit that of one which nothing happened to, but for timings."""
    for run in runs:
        other = RunFolder(undisturbed / run.path.name)
        assert metrics(run) == metrics(other), run.path.name
        assert result(run) == result(other), run.path.name
        ours, theirs = (load_checkpoint(r.checkpoints / LAST)["network"] for r in (run, other))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), run.path.name


def result(run: RunFolder) -> dict[str, Any]:
    """result.json, timings left out."""
    return without_timings(json.loads(run.result.read_text()))
