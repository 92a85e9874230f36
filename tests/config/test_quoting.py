"""Values with characters that Hydra or the shell reads: the message shows what works; paths know ~."""

import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from rbp.config.composition.overrides import check, in_quotes
from rbp.errors import ConfigError
from rbp.sweep.grid.compose import compose_cell, compose_grid

VALUES = ["~/x", "a=b", "a(1)", "a[1]", "a{1}", "x/epoch=3.pt", "O'Brien", 'the "best"', "$HOME/(a)", "größe"]
VALUES += ["a#b", "a;b", "`a`", "back\\slash(1)", "a!b", "a & b(c)"]


@pytest.mark.parametrize("value", VALUES)
def test_what_a_message_proposes_comes_through_shell_and_hydra_as_it_was(value: str) -> None:
    with pytest.raises(ConfigError, match="put the value in quotes") as refused:
        compose_cell([f"runs_dir={value}"])
    proposed = str(refused.value).partition("put the value in quotes: ")[2]
    argument = subprocess.run(["bash", "-c", f"printf %s {proposed}"], capture_output=True, text=True).stdout
    parsed = OverridesParser.create().parse_override(argument)
    assert parsed.key_or_group == "runs_dir" and parsed.value() == value


def test_a_comma_in_a_text_is_answered_with_quotes() -> None:
    with pytest.raises(ConfigError, match=r"add -m; .*a comma in quotes: \"runs_dir='/tmp/a,b'\""):
        compose_cell(["runs_dir=/tmp/a,b"])
    with pytest.raises(ConfigError, match=r"are the same run .*one text with a comma goes in quotes"):
        compose_grid(["runs_dir=/tmp/a,b"])


def test_items_of_a_list_are_quoted_one_by_one() -> None:
    assert in_quotes("hydra.launcher.setup=[export A=1, b]") == "\"hydra.launcher.setup=['export A=1','b']\""


def test_a_sorted_or_shuffled_range_has_the_values_of_the_range() -> None:
    swept = {"seed=sort(range(0,7,3),reverse=true)": [6, 3, 0], "seed=sort(range(5,0,-2))": [1, 3, 5]}
    for line, values in swept.items():
        assert [cell.values["seed"] for cell in compose_grid([line])] == values
    shuffled = [
        cell.values["optimizer"]["lr"] for cell in compose_grid(["optimizer.lr=shuffle(range(0.1,0.4,0.1))"])
    ]
    assert sorted(shuffled) == [0.1, 0.2, 0.3]
    steps = [cell.values["T"] for cell in compose_grid([check("T=sort(range(4,11,3),reverse=true)")])]
    assert steps == [10, 7, 4]


@pytest.mark.parametrize("line", ["optimizer.lr=range(inf)", "optimizer.lr=range(0,nan)"])
def test_a_range_without_an_end_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="must be a range of finite numbers"):
        compose_grid([line])


def test_two_functions_for_one_group_are_refused() -> None:
    with pytest.raises(ConfigError, match="write single options"):
        check("T=choice(1,2),choice(3,4)")


@pytest.mark.parametrize("argument", ["hydra.launcher.setup=[a(1,2),b]", "tracker.tags=['a,b=1',c=2]"])
def test_lists_whose_commas_do_not_separate_items_get_no_wrong_quotes(argument: str) -> None:
    assert in_quotes(argument) is None


@pytest.mark.parametrize("argument", ["optimizer.lr=(", "a.b={c: d", "justtext", "=3"])
def test_where_quotes_do_not_help_none_are_proposed(argument: str) -> None:
    assert in_quotes(argument) is None


@pytest.mark.parametrize(
    ("typed", "override"),
    [
        ("hydra.launcher.partition=gpu,long", "hydra.launcher.partition='gpu,long'"),
        ("hydra.launcher.sbatch.mail-type=END,FAIL", "++hydra.launcher.sbatch.mail-type='END,FAIL'"),
        ("hydra.launcher.sbatch.exclude=n1,n2", "++hydra.launcher.sbatch.exclude='n1,n2'"),
        ("hydra.launcher.partition='gpu,long'", "hydra.launcher.partition='gpu,long'"),
        ("hydra.launcher.setup=[a,b]", "hydra.launcher.setup=[a,b]"),
        ("hydra.launcher.sbatch={a: b, c: d}", "++hydra.launcher.sbatch={a: b, c: d}"),
        ("hydra.launcher.time=4:00:00", "hydra.launcher.time=4:00:00"),
        ("optimizer.lr=0.1,0.2", "optimizer.lr=0.1,0.2"),
    ],
)
def test_a_comma_in_a_launchers_key_makes_no_grid(typed: str, override: str) -> None:
    assert check(typed) == override


@pytest.mark.parametrize(
    ("swept", "values"),
    [
        ("range(0.1,0.4,0.1)", ["0.1", "0.2", "0.3"]),
        ("range(0.001,0.0022,0.0004)", ["0.001", "0.0014", "0.0018"]),
        ("range(0.3,0.1,-0.1)", ["0.3", "0.2"]),
        ("range(1,3,0.5)", ["1.0", "1.5", "2.0", "2.5"]),
        ("range(1e-4,3e-4,1e-4)", ["0.0001", "0.0002"]),
        ("sort(range(0.1,0.4,0.1),reverse=true)", ["0.3", "0.2", "0.1"]),
        ("sort(range(0.3,0.1,-0.1))", ["0.2", "0.3"]),
    ],
)
def test_a_range_of_fractions_is_exact_and_leaves_out_its_end(swept: str, values: list[str]) -> None:
    cells = compose_grid([f"optimizer.lr={swept}"])
    assert [cell.choices["optimizer.lr"] for cell in cells] == values
    assert [cell.values["optimizer"]["lr"] for cell in cells] == [float(value) for value in values]


def test_the_home_folder_is_known_in_every_path() -> None:
    keys = ["runs_dir", "dataset.root", "dataset.stage", "dataset.prepared"]
    for cell in (
        compose_cell([*(f"{key}='~/x'" for key in keys), "eval_only=true", "checkpoint='~/x'"]),
        *compose_grid([*(f"{key}='~/x'" for key in keys), "eval_only=true", "checkpoint='~/x'", "seed=0,1"]),
    ):
        found = [cell.values["runs_dir"], cell.values["checkpoint"]]
        found += [cell.values["dataset"][key] for key in ("root", "stage", "prepared")]
        assert found == [str(Path.home() / "x")] * 5


def test_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"runs_dir=~nobody-here/x: there is no user nobody-here"):
        compose_cell(["runs_dir='~nobody-here/x'"])
