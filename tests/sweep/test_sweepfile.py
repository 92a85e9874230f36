"""Named grids: files in folders, and files that are like others."""

from pathlib import Path

import pytest

from rbp.config import schema
from rbp.config.composition.places import sweep_files
from rbp.errors import ConfigError
from rbp.sweep.grid.sweepfile import load_sweep


@pytest.fixture(autouse=True)
def sweeps(here: Path) -> Path:
    schema.register()
    (here / "sweeps" / "mine" / "own").mkdir(parents=True)
    return here / "sweeps"


BASE = """
name: known
about: The first.
fixed: {dataset: digits, trainer: debug}
grid: {T: [2, 4], seed: [0, 1]}
pairs:
  - {optimizer.lr: [0.1, 0.2], trainer.batch_size: [16, 32]}
exclude:
  - {T: 2, seed: 1}
"""


def test_a_sweep_in_a_folder_has_the_folder_in_its_name(sweeps: Path) -> None:
    (sweeps / "mine" / "own" / "third.yaml").write_text("grid: {T: [2]}")
    (sweeps / "mine" / "named.yaml").write_text("name: other\ngrid: {T: [2]}")
    assert {"mine/own/third", "mine/named", "quickstart"} <= {*sweep_files()}
    assert load_sweep("mine/own/third").name == "mine_own_third"  # names its folder in runs/
    assert load_sweep("mine/named").name == "other"
    assert load_sweep("sweeps/mine/own/third.yaml").name == "third"
    with pytest.raises(ConfigError, match="did you mean sweeps=mine/own/third"):
        load_sweep("mine/own/thrid")


def test_a_sweep_that_is_like_another_has_its_parts_but_for_what_it_says_itself(sweeps: Path) -> None:
    (sweeps / "base.yaml").write_text(BASE)
    (sweeps / "twin.yaml").write_text(
        "like: base\nabout: The second.\nfixed: {trainer: default, arch: digits_cnn, T: 8}\nexclude: []"
    )
    twin = load_sweep("twin")
    assert (twin.name, twin.about) == ("twin", "The second.")  # never the other's folder
    assert twin.fixed == {"dataset": "digits", "trainer": "default", "arch": "digits_cnn", "T": 8}
    assert twin.grid == {"seed": [0, 1]}  # T is fixed here
    assert twin.pairs == [{"optimizer.lr": [0.1, 0.2], "trainer.batch_size": [16, 32]}]
    assert twin.exclude == []
    (sweeps / "third.yaml").write_text("like: twin\ngrid: {seed: [5], trainer: [default, debug]}")
    third = load_sweep("third")
    assert (third.about, third.pairs) == ("The second.", twin.pairs)
    assert third.grid == {"seed": [5], "trainer": ["default", "debug"]} and "trainer" not in third.fixed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("like: nowhere", r"twin.yaml: like=nowhere: sweeps=nowhere: no such sweep"),
        ("like: twin", r"twin.yaml: like=twin: goes round in a circle: twin -> twin"),
        ("like: ''", "twin.yaml: like=: sweeps=: no such sweep"),
        ("like: gone.yaml", r"sweeps=gone.yaml: no such file: /.*/sweeps/gone.yaml nor /.*/gone.yaml"),
        ("like: /gone.yaml", "no such file: /gone.yaml$"),
        ("like: [base]", r"twin.yaml: like=\['base'\]: must be the name of another sweep"),
        ("like: broken", r"twin.yaml: like=broken: .*broken.yaml: grid must hold keys"),
        ("like: base\ngrid: {optimizer.lr: [1]}", r"twin.yaml: optimizer.lr: more than once"),
        ("like: base\nfixed: [T]", r"twin.yaml: fixed must hold keys"),
    ],
)
def test_what_cannot_be_like_another_is_refused(text: str, told: str, sweeps: Path) -> None:
    (sweeps / "base.yaml").write_text(BASE)
    (sweeps / "broken.yaml").write_text("grid: [T]")
    (sweeps / "twin.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_sweep("twin")


def test_a_path_is_looked_for_beside_the_file(sweeps: Path) -> None:
    (sweeps / "mine" / "base.yaml").write_text(BASE)
    (sweeps / "mine" / "twin.yaml").write_text("like: base.yaml")
    (sweeps / "mine" / "own" / "third.yaml").write_text("like: ../twin.yaml")
    assert load_sweep("mine/own/third").exclude == [{"T": 2, "seed": 1}]


def test_a_long_chain_is_read(sweeps: Path) -> None:
    (sweeps / "s0.yaml").write_text(BASE)
    for n in range(1, 1200):
        (sweeps / f"s{n}.yaml").write_text(f"like: s{n - 1}\nfixed: {{optimizer.momentum: {n}}}")
    assert load_sweep("s1199").fixed == {"dataset": "digits", "trainer": "debug", "optimizer.momentum": 1199}


@pytest.mark.parametrize(
    ("own", "rules"),
    [
        ("fixed: {T: 4}", []),
        ("fixed: {T: 2}", [{"T": 2, "seed": 1}]),
        ("grid: {T: [2, 8]}", [{"T": 2, "seed": 1}]),
        ("grid: {seed: [5, 6]}", []),
        ("fixed: {T: 4}\nexclude: [{T: 2}]", [{"T": 2}]),  # one's own stays, to be refused
    ],
)
def test_rules_of_another_sweep_that_can_match_nothing_are_left_out(
    own: str, rules: list[dict[str, int]], sweeps: Path
) -> None:
    (sweeps / "base.yaml").write_text(BASE)
    (sweeps / "twin.yaml").write_text(f"like: base\n{own}")
    assert load_sweep("twin").exclude == rules


def test_a_circle_of_two_is_refused(sweeps: Path) -> None:
    (sweeps / "a.yaml").write_text("like: b")
    (sweeps / "b.yaml").write_text("like: a")
    with pytest.raises(ConfigError, match="circle: a -> b -> a"):
        load_sweep("a")
