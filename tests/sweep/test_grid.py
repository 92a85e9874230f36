"""Products, pairs and exclusions: the cells of a grid as one writes them down by hand."""

from pathlib import Path

import pytest

from rbp.config import schema
from rbp.errors import ConfigError
from rbp.sweep.grid.combinations import Exclusions, combinations
from rbp.sweep.grid.command_line import expand, read_command_line
from rbp.sweep.grid.compose import compose_grid
from rbp.sweep.launch import read_grid


@pytest.fixture(autouse=True)
def registered() -> None:
    schema.register()


def test_a_pair_changes_its_keys_together_and_multiplies_with_the_rest() -> None:
    points = combinations(
        {"seed": ["0", "1"]}, [{"optimizer.lr": [0.1, 0.2], "trainer.batch_size": [64, 128]}]
    )
    assert [tuple(point.values()) for point in points] == [
        ("0", "0.1", "64"),
        ("0", "0.2", "128"),
        ("1", "0.1", "64"),
        ("1", "0.2", "128"),
    ]


def test_options_of_a_group_in_a_pair_are_quoted_as_hydra_wants_them() -> None:
    (first, second) = combinations({}, [{"T": [2, 4], "arch": ["digits_cnn", "resnet18"]}])
    assert first == {"T": "'2'", "arch": "'digits_cnn'"} and second["T"] == "'4'"


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ({"T": [2, 4], "seed": [1]}, r"of one length, not \[1, 2\]"),
        ({"T": 2}, "list of values"),
        ({}, "list of values"),
        ("T", "list of values"),
        ({"T": []}, "list of values"),
        ({1: [2, 3]}, "list of values"),
    ],
)
def test_a_pair_that_is_none_is_refused(pair: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        combinations({}, [pair])


def test_a_key_both_in_the_grid_and_in_a_pair_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed: both in the grid and in pairs"):
        combinations({"seed": ["1"]}, [{"seed": [1, 2]}])


def test_a_key_in_two_pairs_is_refused() -> None:
    with pytest.raises(ConfigError, match="T: in several pairs"):
        combinations({}, [{"T": [2, 4], "seed": [0, 1]}, {"T": [1, 2]}])


def test_a_rule_leaves_out_what_fits_all_of_its_keys_and_no_more() -> None:
    cells = compose_grid(
        ["T='1','2','4'", "grad_mode=bptt,rate"], exclude=[{"grad_mode": "bptt", "T": [2, 4]}, {"T": 1}]
    )
    assert [(c.values["T"], c.values["grad_mode"]["name"]) for c in cells] == [(2, "rate"), (4, "rate")]


def test_an_excluded_cell_need_not_be_valid() -> None:
    grid = ["arch=digits_cnn,vgg11", "seed=0"]  # the digits are too small for vgg11
    with pytest.raises(ConfigError, match="arch=vgg11 with dataset=digits"):
        compose_grid(grid)
    assert len(compose_grid(grid, exclude=[{"arch": "vgg11"}])) == 1


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"T": 3}, "fits no cell"),
        ({"Tee": 3}, "Tee: no such key"),
        ("T", "keys with a value"),
        ({}, "keys with"),
    ],
)
def test_a_rule_that_is_a_slip_of_the_pen_is_refused(rule: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        compose_grid(["T='1','2'"], exclude=[rule])


def test_a_grid_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves no cell"):
        compose_grid(["T='1','2'"], exclude=[{"T": [1, 2]}])


def test_numbers_are_compared_by_value_and_words_as_written() -> None:
    excluded = Exclusions([{"optimizer.lr": 1}, {"trainer.deterministic": False}])
    assert excluded({"optimizer": {"lr": 1.0}, "trainer": {"deterministic": True}})
    assert not excluded({"optimizer": {"lr": 0.1}, "trainer": {"deterministic": True}})
    assert excluded({"optimizer": {"lr": 0.1}, "trainer": {"deterministic": False}})


FILE = """
about: what suits which network
fixed: {dataset: fashion_mnist}
grid: {seed: [0, 1], T: [2, 4]}
pairs:
  - {arch: [resnet18, vgg11], trainer.batch_size: [128, 64]}
exclude:
  - {arch: vgg11, T: 4}
"""


def cells_of(*argv: str) -> list[tuple]:
    cells, _, _ = read_grid(read_command_line(["sweeps=mine", *argv]))
    return [
        (c.values["arch"]["name"], c.values["trainer"]["batch_size"], c.values["T"], c.values["seed"])
        for c in cells
    ]


def test_a_sweep_file_with_pairs_and_exclusions_is_read_as_written(sweeps: Path) -> None:
    (sweeps / "mine.yaml").write_text(FILE)
    found = cells_of()
    assert sorted(found) == sorted(
        (arch, size, T, seed)
        for arch, size in (("resnet18", 128), ("vgg11", 64))
        for T in (2, 4)
        for seed in (0, 1)
        if (arch, T) != ("vgg11", 4)
    )


def test_what_the_command_line_says_of_a_paired_key_picks_the_rows_that_fit(sweeps: Path) -> None:
    (sweeps / "mine.yaml").write_text(FILE.replace("exclude:\n  - {arch: vgg11, T: 4}", ""))
    assert {(arch, size) for arch, size, _, _ in cells_of("arch=vgg11", "T=2", "seed=0")} == {("vgg11", 64)}
    fits_none = cells_of("arch=vgg13", "T=2", "seed=0")
    assert {(arch, size) for arch, size, _, _ in fits_none} == {("vgg13", 128), ("vgg13", 64)}


@pytest.mark.parametrize("part", ["pairs", "exclude"])
def test_a_sweep_file_whose_lists_are_none_names_the_file(sweeps: Path, part: str) -> None:
    (sweeps / "mine.yaml").write_text(f"grid: {{seed: [0, 1]}}\n{part}: {{T: [1, 2]}}\n")
    with pytest.raises(ConfigError, match=rf"mine.yaml: {part} must be a list"):
        expand(["sweeps=mine"])


@pytest.mark.parametrize(
    ("argv", "number"),
    [(["T=2"], 4), (["T=4"], 2), (["T=2,4"], 6), (["arch=resnet18"], 4), (["T='4','2'", "seed=0"], 3)],
)
def test_an_exclusion_of_what_the_command_line_leaves_no_cell_of_is_no_slip(
    sweeps: Path, argv: list[str], number: int
) -> None:
    (sweeps / "mine.yaml").write_text(FILE)
    assert len(cells_of(*argv)) == number


def test_several_values_of_a_paired_key_pick_the_rows_of_each(sweeps: Path) -> None:
    (sweeps / "mine.yaml").write_text(
        "pairs: [{optimizer.lr: [0.1, 0.05, 0.01], trainer.batch_size: [128, 64, 32]}]"
    )
    sizes = sorted(size for _, size, _, _ in cells_of("optimizer.lr=0.1"))
    assert sizes == [128]
    assert sorted(size for _, size, _, _ in cells_of("optimizer.lr=1e-1")) == [128]


@pytest.mark.parametrize("values", ["[]", "[2, 4, 8]"])
def test_a_pair_that_is_none_is_refused_also_where_the_command_line_gives_a_key(
    sweeps: Path, values: str
) -> None:
    (sweeps / "mine.yaml").write_text(f"pairs: [{{T: {values}, seed: [0, 1]}}]")
    with pytest.raises(ConfigError, match=r"list of values|of one length"):
        cells_of("seed=0")
