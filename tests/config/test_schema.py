"""The schema is the one place of every key: files, checks, help and docs agree with it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from rbp.config import reference
from rbp.config.allowed import above, at_least, between, one_of, or_null
from rbp.config.composition.places import CONF, ROOT
from rbp.config.key import defaults
from rbp.config.key import keys as keys_of
from rbp.config.launchers import LAUNCHERS, LocalSettings, SlurmSettings, SweeperSettings, read_settings
from rbp.config.schema import Arch, Loss, Neuron, Optimizer, keys, labels
from rbp.errors import ConfigError
from rbp.files import load_yaml
from tests.support.configs import leaves

FILES = {
    "launcher/local": LocalSettings,
    "launcher/slurm": SlurmSettings,
    "sweeper/rbp": SweeperSettings,
}


def in_files(group: str) -> set[str]:
    """The dotted keys of all options of a group, as their files have them."""
    found: set[str] = set()
    for file in (CONF / group).glob("*.yaml"):
        values = load_yaml(file.read_text())
        values.pop("defaults", None)
        keys_of = set(leaves(values if "@package _global_" in file.read_text() else {group: values}))
        # The zoo's networks have settings of their own, which rbp.models.zoo checks by the model.
        found |= keys_of & {*keys()} if values.get("_target_") == "rbp.models.zoo.spikingjelly" else keys_of
    return found


GROUPS = (
    "T",
    "dataset",
    "arch",
    "neuron",
    "step_mode",
    "grad_mode",
    "loss",
    "optimizer",
    "trainer",
    "tracker",
)


@pytest.mark.parametrize("group", GROUPS)
def test_files_hold_declared_keys_and_no_declared_key_is_without_a_file(group: str) -> None:
    below = {name for name, key in keys().items() if key.children is None and name.split(".")[0] == group}
    optional = {"dataset.augment.roll"}  # its default says off
    assert in_files(group) - {group} <= below | {group}
    assert below - optional <= in_files(group) | optional


@pytest.mark.parametrize(("file", "kind"), FILES.items(), ids=FILES)
def test_hydras_files_repeat_the_defaults_of_the_schema(file: str, kind: type) -> None:
    values = OmegaConf.to_container(OmegaConf.load(CONF / "hydra" / f"{file}.yaml"))
    assert isinstance(values, dict)
    assert str(values.pop("_target_", "")).startswith("rbp.sweep.launchers." if "launcher" in file else "")
    assert values == defaults(kind)
    assert list(values) == list(keys_of(kind))


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: file.stem)
def test_files_hold_values_and_do_not_list_what_else_is_allowed(file: Path) -> None:
    comments = [line.partition(" # ")[2] for line in file.read_text().splitlines() if line[:1] != "#"]
    assert file.name == "rbp.yaml" or not any("|" in comment for comment in comments)


def test_every_key_says_what_it_is_in_one_line_and_what_it_may_be() -> None:
    every = keys() | {f"{kind.__name__}.{k}": v for kind in FILES.values() for k, v in keys_of(kind).items()}
    assert len(every) > 90
    for name, key in every.items():
        assert 3 <= len(key.about) <= 100 and "\n" not in key.about, name
        assert key.children is not None or "values" not in key.words or "sbatch" in name, name


def test_what_describes_an_option_is_no_argument_of_its_function() -> None:
    assert set(labels(Arch)) == {"name", "_target_", "min_size", "channels", "layout"}
    assert set(labels(Neuron)) == {"name", "_target_"}
    assert set(labels(Loss)) == {"name", "_target_", "over"}
    assert set(labels(Optimizer)) == {"name", "_target_", "schedule", "warmup_epochs"}


def test_help_lists_every_key_that_one_sets() -> None:
    done = subprocess.run([sys.executable, ROOT / "launch.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = set(done.stdout.split())
    for name, key in keys().items():
        comes_with_its_file = name != "sweep.name" and name.endswith((".name", "._target_"))
        assert key.children is not None or comes_with_its_file or name in words, name
    for kind in LAUNCHERS.values():
        assert {f"hydra.launcher.{name}" for name in keys_of(kind)} <= words
    assert {"dry_run", "wait", "hydra.sweeper.pairs"} <= words
    assert max(map(len, done.stdout.splitlines())) <= 112
    assert "$SLURM_TMPDIR/rbp" in done.stdout and "super_spike" in done.stdout


def test_the_docs_are_made_of_the_schema() -> None:
    assert (ROOT / "docs" / "config.md").read_text() == reference.reference(), (
        "python -m rbp.config.reference > docs/config.md"
    )


def test_all_wrong_settings_of_a_launcher_are_told_in_one_message() -> None:
    wrong = {"time": 0, "gpus": -1, "partition": None, "nodes": "two", "tiem": 3, "memory": float("nan")}
    with pytest.raises(ConfigError) as told:
        read_settings(SlurmSettings, wrong | {"setup": [3]})
    assert [line.split(":")[0] for line in str(told.value).splitlines()] == [
        "hydra.launcher.time=0",
        "hydra.launcher.gpus=-1",
        "hydra.launcher.nodes=two",
        "hydra.launcher.tiem",
        "hydra.launcher.memory=nan",
    ]


def test_a_setting_that_is_left_out_has_its_default() -> None:
    settings = read_settings(SlurmSettings, {"nodes": 2, "tasks": 4, "sbatch": {"mail-user": "me"}})
    assert (settings.ranks, settings.time, settings.sbatch) == (8, 240, {"mail-user": "me"})
    assert settings.setup is not SlurmSettings().setup


@pytest.mark.parametrize(
    ("allowed", "good", "bad"),
    [
        (at_least(1), [1, 2**40], [0, -1, 1.0, True, None, "1", float("nan")]),
        (between(1, 3), [1, 3], [0, 4, False, 2.5]),
        (above(0), [1e-30, 1, 1e38], [0, -1.0, 1e39, float("inf"), float("nan"), True, None]),
        (one_of("m", "s"), ["m"], ["", "M", None, ["m"]]),
        (or_null(above(1), "never"), [None, 1.5], [1, "null", False]),
    ],
    ids=lambda value: getattr(value, "words", ""),
)
def test_what_is_allowed(allowed: Any, good: list[Any], bad: list[Any]) -> None:
    assert all(map(allowed.holds, good)) and not any(map(allowed.holds, bad))
