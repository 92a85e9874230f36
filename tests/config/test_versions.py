"""A schema that grows and modules that move leave every run's identity as it was."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rbp.config import allowed, versions
from rbp.config.identity import folder_name, identity
from rbp.config.key import group, key
from rbp.config.key import keys as keys_of
from rbp.config.schema import Arch, Config, Trainer
from rbp.config.versions import FORMAT, upgrade
from rbp.errors import ConfigError
from rbp.files import load_yaml
from rbp.runs.config import read_config, write_config

RUNS = Path(__file__).parents[1] / "fixtures" / "v0.1" / "runs"
CONFIGS = sorted(RUNS.glob("*/*/config.yaml"))


@dataclass
class LaterTrainer(Trainer):
    smoothing: float = key("of labels", allowed.SHARE, since="0.3", before=0)
    keep: str = key("checkpoints that stay", since="0.3", before="all", affects_result=False)


@dataclass
class LaterArch(Arch):
    layout: str | None = key("what the network sees of time", since="0.3", label=True)


@dataclass
class GradMode:
    name: str = key("of the mode")
    segments: int = key("of time", since="0.3", before=1)
    coupled: bool = key("segments act on later ones", since="0.3", before=True)


@dataclass
class Loss:
    name: str = key("of the loss", before="cross_entropy")
    over: str = key("time", before="mean")


@dataclass
class LaterConfig(Config):
    """Today's with a new key in a group, one in an open group, keys of a mode, a new group."""

    grad_mode: GradMode = group(GradMode, "how gradients are made")  # type: ignore[assignment]
    arch: dict[str, Any] = group(LaterArch, "the network", open=True)
    trainer: LaterTrainer = group(LaterTrainer, "how long")
    loss: Loss = group(Loss, "what is minimised", since="0.3")  # type: ignore[assignment]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version, which has more keys, and whose networks have moved."""
    found = keys_of(LaterConfig)
    monkeypatch.setattr(versions, "keys", lambda: found)
    moved = (
        ("rbp.models.vgg.vgg11", "rbp.nets.vgg11", "rbp.networks.vgg11"),
        ("rbp.models.neurons.lif", "rbp.networks.lif"),
    )
    monkeypatch.setattr(versions, "RENAMED_TARGETS", moved)


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.parent.name)
def test_a_later_version_reads_a_config_and_names_the_same_run(file: Path) -> None:
    then = load_yaml(file.read_text())
    now = upgrade(then)
    assert now["grad_mode"] == {"name": then["grad_mode"], "segments": 1, "coupled": True}
    assert now["trainer"]["smoothing"] == 0 and now["trainer"]["keep"] == "all"
    assert now["loss"] == {"name": "cross_entropy", "over": "mean"}
    if then["arch"]["name"] == "vgg11":
        assert now["arch"]["_target_"] == "rbp.networks.vgg11"
    assert then["neuron"]["name"] != "lif" or now["neuron"]["_target_"] == "rbp.networks.lif"
    assert folder_name(now) == file.parent.name


@pytest.fixture
def grown(later: None) -> dict[str, Any]:
    """A config with all keys that the later version added, at what means that they are not there."""
    values = upgrade(load_yaml(CONFIGS[0].read_text()))
    values["arch"]["layout"] = None
    return values


NAME = CONFIGS[0].parent.name


def test_a_new_key_at_what_it_was_before_changes_nothing(grown: dict[str, Any]) -> None:
    grown["trainer"] |= {"smoothing": 0.0, "keep": "last"}  # 0.0 is 0, and keep decides nothing
    assert folder_name(grown) == NAME
    del grown["loss"]["over"]
    assert folder_name(grown) == NAME


@pytest.mark.parametrize(
    ("group", "change"),
    [
        ("trainer", {"smoothing": 0.1}),
        ("grad_mode", {"segments": 2}),
        ("grad_mode", {"coupled": False}),
        ("grad_mode", {"coupled": 1}),  # true is not 1
        ("grad_mode", {"name": "sltt"}),
        ("loss", {"over": "steps"}),
        ("loss", {"name": "mse"}),
        ("loss", {"own": 1}),
        ("arch", {"layout": "BT"}),
        ("arch", {"own": None}),
        ("neuron", {"_target_": "rbp.networks.plif"}),
    ],
)
def test_another_value_is_another_run(grown: dict[str, Any], group: str, change: dict[str, Any]) -> None:
    before = identity(grown)
    grown[group] |= change
    assert identity(grown) != before
    assert group != "grad_mode" or f"-{grown['grad_mode']['name']}-" in folder_name(grown)


def test_a_mode_that_is_a_group_today_is_the_plain_word_of_then() -> None:
    values = load_yaml(CONFIGS[0].read_text())
    values["grad_mode"] = {"name": values["grad_mode"]}
    assert folder_name(values) == NAME


def test_a_config_bears_its_format_and_is_read_without_it(tmp_path: Path) -> None:
    values = load_yaml(CONFIGS[0].read_text())
    write_config(tmp_path / "config.yaml", values)
    assert load_yaml((tmp_path / "config.yaml").read_text()) == {"format": FORMAT, **values}
    assert read_config(tmp_path / "config.yaml") == upgrade(values)
    assert folder_name({"format": FORMAT, **values}) == NAME


@pytest.mark.usefixtures("later")
def test_a_function_that_moved_twice_is_found_by_each_of_its_names() -> None:
    names = ("rbp.models.vgg.vgg11", "rbp.nets.vgg11", "rbp.networks.vgg11")
    found = {identity({"arch": {"_target_": name}}) for name in names}
    assert len(found) == 1 and identity({"arch": {"_target_": "rbp.nets.vgg13"}}) not in found
    for name in names:
        assert upgrade({"arch": {"_target_": name}})["arch"]["_target_"] == "rbp.networks.vgg11"
        assert versions.current_target(name) == "rbp.networks.vgg11"


def test_whole_numbers_that_no_float_holds_are_told_apart() -> None:
    base = 2**53
    assert identity({"seed": base}) == identity({"seed": float(base)})
    assert len({identity({"seed": base + n}) for n in range(4)}) == 4
    assert identity({"seed": 10**400}) != identity({"seed": 10**400 + 1})


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (FORMAT + 1, f"format={FORMAT + 1}: must be a whole number from 1 to {FORMAT}; a newer version"),
        ("new", "format=new: must be a whole number from 1"),
        (None, "format=null: must be a whole number from 1"),
        (2.0, "format=2.0: must be a whole number from 1"),
        (True, "format=true: must be a whole number from 1"),
        (0, "format=0: must be a whole number from 1"),
    ],
)
def test_a_config_of_another_format_is_refused_by_name(tmp_path: Path, number: object, told: str) -> None:
    file = tmp_path / "config.yaml"
    write_config(file, load_yaml(CONFIGS[0].read_text()) | {"format": number})
    with pytest.raises(ConfigError) as error:
        read_config(file)
    assert str(error.value).startswith(f"{file}: {told}")
    assert ("newer" in str(error.value)) == (number == FORMAT + 1)


@pytest.mark.parametrize("content", ["seed: &a [*a]\n", "&a {x: *a}\n"])
def test_a_config_that_contains_itself_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match="a value contains itself"):
        read_config(tmp_path / "config.yaml")
