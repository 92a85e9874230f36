"""T takes any whole number from 1, wherever it is said."""

import re
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from rbp.config.composition import places
from rbp.config.composition.places import options
from rbp.sweep.grid.compose import compose_grid
from rbp.sweep.launch import main


@pytest.fixture(autouse=True)
def nothing_stored(here: Path) -> None:
    """An empty working directory, and no T that an earlier test has stored."""
    ConfigStore.instance().repo.pop("T", None)


def steps(capsys: pytest.CaptureFixture[str], *line: str) -> list[int]:
    """T of each cell of a command line, in order."""
    assert main([*line, "--dry-run"]) == 0
    return [int(n) for n in re.findall(r"runs/\S*-T(\d+)-\S+$", capsys.readouterr().out, re.MULTILINE)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("T=7", [7]),
        ("T=1000", [1000]),
        ("T=9999999999", [9999999999]),
        ("-m T=7,9", [7, 9]),
        ("-m T=sort(9,7)", [7, 9]),
        ("-m T=range(1,5)", [1, 2, 3, 4]),
        ("-m T=range(3,12,4)", [3, 7, 11]),
        ("-m T=choice(2,14)", [2, 14]),
        ("-m T='7','4'", [7, 4]),
        ("-m T=range(6,8) seed=0,1", [6, 6, 7, 7]),
        ("-m T=13 dataset=digits_dvs arch=dvs_cnn", [13]),
    ],
)
def test_on_the_command_line(capsys: pytest.CaptureFixture[str], line: str, found: list[int]) -> None:
    assert steps(capsys, *line.split()) == found


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "07", "abc", "null", "", "1e3", "1_0", "٣"])
@pytest.mark.parametrize("grid", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_is_none_is_refused(capsys: pytest.CaptureFixture[str], value: str, grid: bool) -> None:
    assert main(["-m", f"T=4,{value}"] if grid else [f"T={value}"]) == 2
    assert f"T={value}: must be a whole number, 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["int(7)", "float(7)", "7,range(1,3)", "range(1,3),7", "interval(1,3)"])
def test_what_gives_no_options_is_refused_by_what_does(
    capsys: pytest.CaptureFixture[str], value: str
) -> None:
    assert main(["-m", f"T={value}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: T={value}: write single options, as in T=2,4, or one")


@pytest.mark.parametrize("value", ["range(1,1)", "range(5,1)"])
def test_a_range_of_nothing_is_refused(capsys: pytest.CaptureFixture[str], value: str) -> None:
    assert main(["-m", f"T={value}"]) == 2
    assert capsys.readouterr().err == f"error: T={value}: has no values\n"


def test_what_no_number_holds_is_refused_by_its_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"T={2**63}"]) == 2
    assert capsys.readouterr().err == f"error: T={2**63}: must be below 2^63\n"


@pytest.mark.parametrize(("value", "told"), [("null", "T=null"), ("true", "T=true"), ("0", "T=0")])
def test_what_is_none_in_pairs_is_told_as_written(
    capsys: pytest.CaptureFixture[str], value: str, told: str
) -> None:
    assert main(["-m", f"hydra.sweeper.pairs=[{{T:[{value},4],seed:[1,2]}}]"]) == 2
    assert f"{told}: must be a whole number, 1 or more" in capsys.readouterr().err


def test_a_range_without_m_is_a_grid_that_asks_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["T=range(1,5)"]) == 2
    assert capsys.readouterr().err == "error: T=range(1,5): several values make a grid: add -m\n"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("grid: {T: [7, 9]}", [7, 9]),
        ("fixed: {T: 11}\ngrid: {seed: [0, 1]}", [11, 11]),
        ("pairs: [{T: [7, 13], seed: [1, 2]}]", [7, 13]),
        ("pairs: [{T: ['7', 13], seed: [1, 2]}]", [7, 13]),
        ("grid: {T: [7, 9, 4]}\nexclude: [{T: 9}]", [7, 4]),
    ],
)
def test_in_a_sweep_file(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    found: list[int],
) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    monkeypatch.setattr(places, "SWEEPS", tmp_path)
    assert steps(capsys, "sweeps=mine") == found


def test_as_a_data_set_has_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "slow.yaml").write_text(
        "# @package _global_\n"
        'defaults: [digits@dataset, {override /T: "23"}, _self_]\ndataset: {name: slow}\n'
    )
    for more, told in (([], "T: 23\n"), (["T=29"], "T: 29\n")):
        assert (
            main([f"hydra.searchpath=[file://{tmp_path}/conf]", "dataset=slow", *more, "--cfg", "job"]) == 0
        )
        assert capsys.readouterr().out.startswith(told)


def test_it_shows_in_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["T=31", "--cfg", "job"]) == 0
    assert capsys.readouterr().out.startswith("T: 31\n")


def test_patterns_keep_to_the_usual_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert steps(capsys, "T=37") == [37]
    assert options("T") == ["1", "2", "3", "4", "5", "6", "8", "10", "12", "16"]
    assert steps(capsys, "-m", "T=glob(1*)") == [1, 10, 12, 16]


def test_our_options_set_t_and_nothing_else_so_that_a_grid_may_set_it_too() -> None:
    files = sorted((places.CONF / "T").glob("*.yaml"))
    assert [OmegaConf.load(file) for file in files] == [{"T": int(file.stem)} for file in files]
    assert len(files) == 10


def test_an_option_of_ones_own_brings_along_what_it_says(here: Path) -> None:
    (here / "conf" / "T").mkdir(parents=True)
    (here / "conf" / "T" / "4.yaml").write_text("# @package _global_\nT: 4\narch: {width: 8}\n")
    cells = compose_grid(["T=2,4,8", "seed=0,1"])
    assert [cell.values["arch"].get("width") for cell in cells] == [None, None, 8, 8, None, None]
