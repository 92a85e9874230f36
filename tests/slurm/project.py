"""A fresh copy of the project, as a user's clone, and its sweeps: what scenarios start and watch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rbp.runfolder import RunFolder
from rbp.sweep.places import ROOT
from tests.slurm.cluster import Cluster

# Cells of a second or two of training, on one thread: two run side by side, and their bits are compared.
SHORT = {
    "dataset": "digits",
    "T": 2,
    "trainer.device": "cpu",
    "trainer.threads": 1,
    "trainer.batch_size": 32,
    "trainer.eval_batch_size": 180,
    "trainer.progress": "none",
    "trainer.limit_batches": 4,
    "trainer.epochs": 3,
}


class Project:
    """A git repository of what git knows here, and what this working tree has changed in it."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
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
        return self._start("launch.py", *arguments)

    def launch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._finish(self.start(*arguments))

    def rbp(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """rbp with arguments: status, retry, cancel, logs, report."""
        return self._finish(self._start("-c", "import rbp.cli, sys; sys.exit(rbp.cli.main())", *arguments))

    def submit(self, sweep: str, *arguments: str) -> None:
        """Submit a sweep to the cluster and do not wait for it."""
        done = self.launch(f"sweeps={sweep}", "hydra/launcher=slurm", "wait=false", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def cells(self, sweep: str) -> list[RunFolder]:
        """The run folders of a sweep, by name."""
        return [RunFolder(file.parent) for file in sorted(self.runs(sweep).glob("*/status.json"))]

    def runs(self, sweep: str) -> Path:
        return self.folder / "runs" / sweep

    def states(self, sweep: str) -> list[str]:
        return [status(run)["state"] for run in self.cells(sweep)]

    def wait_until_done(self, sweep: str, cells: int, seconds: float = 120) -> None:
        self.cluster.wait_for(
            lambda: self.states(sweep) == ["done"] * cells, f"{cells} cells of {sweep} to be done", seconds
        )

    def wait_for_epoch(self, run: RunFolder, epoch: int, seconds: float = 60) -> None:
        """Until the run has written an epoch's line: its process is past its imports and in mid-training."""

        def reached() -> bool:
            return run.metrics.exists() and run.metrics.read_text().count("\n") >= epoch

        self.cluster.wait_for(reached, f"epoch {epoch} of {run.path.name}", seconds)

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.cluster.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _finish(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def status(run: RunFolder) -> dict[str, Any]:
    return dict(json.loads(run.status.read_text()))
