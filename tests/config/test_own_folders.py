"""Options and sweeps of one's own: which folders are looked in, in which order, and what is said of it."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rbp.config.composition.places import CONF
from rbp.sweep.grid.command_line import read_command_line
from rbp.sweep.launch import main, read_grid

LIF = (CONF / "neuron" / "lif.yaml").read_text()


def neuron(conf: Path, name: str, tau: float) -> None:
    """Write an option of the group neuron."""
    (conf / "neuron").mkdir(parents=True, exist_ok=True)
    values = OmegaConf.create(LIF)
    OmegaConf.save(OmegaConf.merge(values, {"name": name, "tau": tau}), conf / "neuron" / f"{name}.yaml")


def tau_of(capsys: pytest.CaptureFixture[str], *line: str) -> float:
    """The leak in the config that a command line shows."""
    assert main([*line, "--cfg", "job"]) == 0
    return float(OmegaConf.create(capsys.readouterr().out).neuron.tau)


@pytest.fixture
def folders(here: Path) -> dict[str, Path]:
    """Three folders that all have neuron=slow, by where they are named."""
    found = {"dir": here / "lab" / "conf", "path": here / "path", "cwd": here / "conf"}
    for number, folder in enumerate(found.values()):
        neuron(folder, "slow", 11.0 + number)
    return found


def test_the_order_is_config_dir_search_path_working_directory_ours(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    every = ["--config-dir", str(folders["dir"]), f"hydra.searchpath=[file://{folders['path']}]"]
    assert tau_of(capsys, *every, "neuron=slow") == 11.0
    assert tau_of(capsys, every[2], "neuron=slow") == 12.0
    assert tau_of(capsys, "neuron=slow") == 13.0
    assert tau_of(capsys, *every, "neuron=lif") == OmegaConf.create(LIF).tau
    neuron(folders["cwd"], "lif", 14.0)
    assert tau_of(capsys, "neuron=lif") == 14.0


@pytest.mark.parametrize(
    "more", [["--dry-run"], ["-m", "T=2,4", "--dry-run"], ["hydra/launcher=local", "--dry-run"]]
)
def test_runs_and_grids_find_them_alike(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    line = read_command_line(["neuron=slow", *more])
    cells, _, _ = read_grid(line)
    assert {cell.values["neuron"]["tau"] for cell in cells} == {13.0}
    assert main(["neuron=slow", *more]) == 0
    assert "to run; nothing was started" in capsys.readouterr().out


def test_what_hides_another_is_told_in_a_line(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["neuron=slow", "--dry-run"]) == 0 and capsys.readouterr().err == ""
    neuron(folders["cwd"], "lif", 14.0)
    assert main(["--dry-run"]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert told == f"{folders['cwd']}/neuron/lif.yaml is taken, not {CONF}/neuron/lif.yaml"
    neuron(folders["cwd"], "plif", 14.0)
    assert main(["--dry-run"]) == 0
    assert capsys.readouterr().err.endswith("lif.yaml, and 1 more such files\n")


def test_a_config_yaml_of_ones_own_is_taken_only_if_it_is_named(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders["cwd"] / "config.yaml").write_text("defaults: [_self_]\nunrelated: 1\n")
    assert main(["neuron=slow", "--dry-run"]) == 0
    (folders["cwd"] / "mine.yaml").write_text("defaults: [rbp_config, _self_]\nseed: 9\n")
    capsys.readouterr()
    assert main(["--config-name", "mine", "--cfg", "job"]) == 0
    assert OmegaConf.create(capsys.readouterr().out).seed == 9


def test_a_group_of_ones_own_files_is_a_group(folders: dict[str, Path]) -> None:
    (folders["cwd"] / "arch").mkdir()
    (folders["cwd"] / "arch" / "12.yaml").write_text(
        (CONF / "arch" / "digits_cnn.yaml").read_text().replace("name: digits_cnn", "name: twelve")
    )
    cells, _, _ = read_grid(read_command_line(["-m", "arch=12,digits_cnn"]))
    assert len(cells) == 2


def test_sweeps_are_found_in_the_same_way(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside, beside, at_hand = here / "lab" / "conf" / "sweeps", here / "lab" / "sweeps", here / "sweeps"
    for number, folder in enumerate((inside, beside, at_hand)):
        folder.mkdir(parents=True)
        (folder / "mine.yaml").write_text(f"grid: {{seed: {list(range(number + 1))}}}\n")
    (beside / "other.yaml").write_text("grid: {seed: [1, 2, 3, 4, 5]}\n")
    lab = ["--config-dir", str(here / "lab" / "conf"), "--dry-run"]

    def cells(*line: str) -> str:
        assert main(list(line)) == 0
        return capsys.readouterr().out.splitlines()[-1].partition(":")[0]

    assert cells("sweeps=mine", *lab) == "1 cell"
    assert cells("sweeps=other", *lab) == "5 cells"
    assert cells("sweeps=mine", "--dry-run") == "3 cells"
    assert cells(f"sweeps={beside}/mine.yaml", "--dry-run") == "2 cells"
    assert main(["sweeps=nowhere.yaml", "--dry-run"]) == 2
    assert "sweeps=nowhere.yaml: no such file" in capsys.readouterr().err
    assert main(["sweeps=mien", "--dry-run"]) == 2
    assert "did you mean sweeps=mine?" in capsys.readouterr().err


def test_the_help_lists_what_is_found_there(
    folders: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "sweeps").mkdir()
    (here / "sweeps" / "mine.yaml").write_text("about: my own grid\n")
    launcher = folders["cwd"] / "hydra" / "launcher" / "mycluster.yaml"
    launcher.parent.mkdir(parents=True)
    launcher.write_text((CONF / "hydra" / "launcher" / "slurm.yaml").read_text())
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "plif | slow" in out and "my own grid" in out
    assert "hydra/launcher=inline | local | mycluster | slurm" in out


def test_an_entry_that_is_not_there_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hydra.searchpath=[file:///nowhere]"]) == 2
    assert "/nowhere: no such folder" in capsys.readouterr().err
    assert main(["hydra.searchpath=x"]) == 2 and "must be a list" in capsys.readouterr().err
