"""Values of a launcher's file mean what they mean to Slurm, whatever YAML makes of them."""

from pathlib import Path
from typing import Any

import pytest

from rbp.config.composition.places import CONF
from rbp.errors import ConfigError
from rbp.sweep.grid.command_line import read_command_line
from rbp.sweep.grid.slurm_values import as_written, minutes_of
from rbp.sweep.launch import read_grid
from rbp.sweep.launchers.slurm import Slurm
from rbp.sweep.slurm.sbatch import check_options


@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        ("240", 240),
        ("90:00", 90),
        ("1:30", 2),
        ("4:00:00", 240),
        ("04:00:30", 241),
        ("2-0", 2880),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("1-00:00:01", 1441),
        ("0:59", 1),
    ],
)
def test_a_time_is_read_as_slurm_reads_it(written: str, minutes: int) -> None:
    assert minutes_of(written) == minutes
    assert minutes_of(minutes) == minutes


@pytest.mark.parametrize("written", ["", "four hours", "4h", "1:2:3:4", "1-2-3", "-5", "4:00:"])
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match=r"hydra.launcher.time=.*: must be minutes, or a time as sbatch"):
        minutes_of(written)


def launcher_of(content: dict[str, str], *line: str) -> Slurm:
    """The launcher that an own file with these lines stands for."""
    lines = (CONF / "hydra" / "launcher" / "slurm.yaml").read_text().splitlines()
    kept = [line for line in lines if line.partition(":")[0] not in content]
    folder = Path("conf", "hydra", "launcher")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text("\n".join([*kept, *(f"{k}: {v}" for k, v in content.items())]) + "\n")
    _, launcher, _ = read_grid(read_command_line(["hydra/launcher=mine", *line]))
    assert isinstance(launcher, Slurm)
    return launcher


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("time", "4:00:00", 240),
        ("time", "90", 90),
        ("time", "1-12:00", 2160),
        ("time", "10:30", 11),
        ("account", "0123", "0123"),
        ("qos", "on", "on"),
        ("partition", "1_000", "1_000"),
        ("constraint", "12:30", "12:30"),
        ("memory", "2.50", 2.5),
        ("memory", "1e1", 10.0),
        ("gpus", "2", 2),
        ("account", "null", None),
    ],
)
def test_the_text_of_the_file_counts(key: str, written: str, value: Any) -> None:
    assert launcher_of({key: written}).settings()[key] == value


@pytest.mark.usefixtures("here")
def test_options_of_sbatch_keep_their_text_and_the_command_line_wins() -> None:
    launcher = launcher_of({"sbatch": "{begin: 16:00, comment: 0x10, nice: 100}", "time": "4:00:00"})
    assert launcher.settings()["sbatch"] == {"begin": "16:00", "comment": "0x10", "nice": 100}
    assert launcher_of({"time": "4:00:00"}, "hydra.launcher.time=30").settings()["time"] == 30
    assert launcher_of({"time": "30"}, "hydra.launcher.time=4:00:00").settings()["time"] == 240


def test_a_launcher_without_a_file_is_unchanged() -> None:
    assert as_written({"time": 14400}, None) == {"time": 14400}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("array", "hydra.launcher.parallel"),
        ("signal", "hydra.launcher.signal_delay"),
        ("cpus_per_task", "hydra.launcher.cpus"),
        ("job-name", "sweep.name"),
        ("output", "leave it out"),
        ("no_requeue", "leave it out"),
    ],
)
def test_options_that_the_launcher_lives_on_are_refused(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"hydra.launcher.sbatch.{name}: .*{told}"):
        check_options({"exclude": "node7", name: 1})
    check_options({"exclude": "node7", "mail-user": "me@there.org", "nice": 100})
