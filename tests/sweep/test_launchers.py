"""What launchers refuse before anything is submitted, and that a refusal takes nothing away."""

import json
from pathlib import Path

import pytest

from rbp.config import schema
from rbp.errors import ConfigError
from rbp.runs.result import RESULT_KEYS, read_result
from rbp.sweep.grid.cell import Cell
from rbp.sweep.grid.compose import compose_grid
from rbp.sweep.launchers.local import Local
from rbp.sweep.launchers.slurm import Slurm
from rbp.sweep.launchers.submit import submit_cells
from rbp.sweep.slurm import sbatch
from rbp.sweep.state.sweepfolder import SweepFolder


def cells(*overrides: str) -> list[Cell]:
    schema.register()
    return compose_grid(list(overrides))


class Refusing(Local):
    """A launcher that takes nothing."""

    def submit(
        self, folders: list[Path], sweep: SweepFolder, code: list[Path], submitted: float
    ) -> list[str]:
        raise ConfigError("no room")


def test_a_stale_result_is_where_it_was_when_the_launcher_refuses(tmp_path: Path) -> None:
    (cell,) = cells(f"runs_dir={tmp_path}", "sweep.name=mine")
    cell.folder.mkdir(parents=True)
    result = dict.fromkeys(RESULT_KEYS, 0) | {"name": cell.name, "config": {}, "code": {"hash": "0123abcd"}}
    (cell.folder / "result.json").write_text(json.dumps(result))
    (cell.folder / "log.txt").write_text("what it said")
    with pytest.raises(ConfigError, match="no room"):
        submit_cells([cell], Refusing({}), SweepFolder(cell.folder.parent))
    assert read_result(cell.folder) == result and (cell.folder / "log.txt").read_text() == "what it said"
    assert not list(cell.folder.glob("older-*"))


@pytest.mark.parametrize("runs_dir", ["a:b", "a%jb"])
def test_a_folder_that_others_read_as_something_else_is_refused(tmp_path: Path, runs_dir: str) -> None:
    (cell,) = cells(f"runs_dir='{tmp_path / runs_dir}'", "sweep.name=mine")
    with pytest.raises(ConfigError, match="choose another folder with runs_dir=PATH"):
        submit_cells([cell], Refusing({}), SweepFolder(cell.folder.parent))
    assert not list(tmp_path.iterdir())


def test_a_sweeps_files_that_cannot_be_written_are_told_by_name(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "mine")
    sweep.control.mkdir(parents=True)
    sweep.jobs.write_text("")
    with pytest.raises(ConfigError, match=r"\.sweep/jobs: cannot be written"), sweep.locked():
        sweep.jobs.mkdir(parents=True, exist_ok=True)


def test_a_gpu_by_its_number_does_not_go_with_a_process_for_each(tmp_path: Path) -> None:
    Local({}).check(cells("trainer.device=cuda"))
    with pytest.raises(
        ConfigError, match=r"trainer\.device=cuda:1: hydra/launcher=local gives every process"
    ):
        Local({}).check(cells("trainer.device=cuda:1"))


def test_a_batch_that_the_tasks_cannot_share_is_refused_before_submission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sbatch.shutil, "which", lambda command: command)
    launcher = Slurm({"nodes": 2, "tasks": 2})
    launcher.check(cells("trainer.batch_size=64"))
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=66: .* multiple of its 4 tasks"):
        launcher.check(cells("trainer.batch_size=64,66", "seed=0"))
    with pytest.raises(ConfigError, match=r"batch_size=64: .* of its 4 tasks times trainer.accumulate=32 \("):
        launcher.check(cells("trainer.batch_size=64", "trainer.accumulate=16,32"))


def test_alignment_that_several_tasks_cannot_measure_is_refused_before_submission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sbatch.shutil, "which", lambda command: command)
    measuring = cells("trainer.align_every=2", "seed=0,1")
    Slurm({}).check(measuring)
    Slurm({"tasks": 2}).check(cells("seed=0,1"))
    with pytest.raises(ConfigError, match=r"trainer\.align_every=2: one task alone .* this run has 2; "):
        Slurm({"tasks": 2}).check(measuring)


@pytest.mark.parametrize("memory", [0, -1, float("nan"), float("inf")])
def test_memory_that_no_node_has_is_refused(memory: float) -> None:
    with pytest.raises(
        ConfigError, match=r"hydra.launcher.memory=.*: must be null or a finite number above 0"
    ):
        Slurm({"memory": memory})


def test_a_refused_submission_leaves_no_run_that_a_retry_would_take(tmp_path: Path) -> None:
    fresh, kept = cells(f"runs_dir={tmp_path}", "seed=1,2")
    kept.folder.mkdir(parents=True)
    (kept.folder / "notes.txt").write_text("somebody's")
    with pytest.raises(ConfigError, match="no room"):
        submit_cells([fresh, kept], Refusing({}), SweepFolder(fresh.folder.parent))
    assert not fresh.folder.exists() and [f.name for f in kept.folder.iterdir()] == ["notes.txt"]
