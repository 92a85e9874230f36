"""The configuration: every choice composes, explicit values win over recipes, what a run's identity is."""

import copy
import math
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from rbp.config.composition.places import groups, options
from rbp.config.identity import folder_name, identity, not_in_identity, run_folder
from rbp.config.validate import problems
from rbp.errors import ConfigError
from rbp.sweep.grid.command_line import CommandLine, read_command_line
from rbp.sweep.grid.compose import compose_grid
from tests.support.configs import as_dict, leaves, make


@pytest.fixture(scope="module")
def plain() -> DictConfig:
    return make()


def changed(cfg: DictConfig, key: str) -> DictConfig:
    """The config with another value at key, of whatever type."""
    other = OmegaConf.create(as_dict(cfg))
    OmegaConf.update(other, key, f"not {OmegaConf.select(cfg, key)}")
    return other


def test_the_issues_groups_and_options_are_there() -> None:
    assert groups()[:4] == ["T", "dataset", "arch", "neuron"]  # in the order of config.yaml
    assert options("T") == ["1", "2", "3", "4", "5", "6", "8", "10", "12", "16"]
    assert set(options("dataset")) >= {"digits", "fashion_mnist", "cifar10", "cifar100"}
    assert set(options("arch")) >= {"digits_cnn", "resnet18", "resnet19", "vgg11", "vgg13", "vggsnn_cifar"}
    assert set(options("neuron")) >= {"lif", "lif_hard", "if", "plif"}
    assert set(options("trainer")) >= {"default", "paper", "debug"}


@pytest.mark.parametrize("group", groups())
def test_every_option_composes_into_a_valid_config_and_names_itself(group: str) -> None:
    for option in options(group):
        cfg = (
            make("dataset=cifar10", f"{group}={option}") if group != "dataset" else make(f"dataset={option}")
        )
        chosen = cfg[group]
        assert option == str(chosen.name if isinstance(chosen, DictConfig) else chosen)
        assert "???" not in str(OmegaConf.to_container(cfg))  # nothing that the schema asks for is missing


@pytest.mark.slow
@pytest.mark.parametrize("arch", [name for name in options("arch") if not name.startswith("sj_")])
def test_an_architecture_composes_with_images_that_are_large_enough(arch: str) -> None:
    """With the smallest that fit it, and with none of the data sets whose images are smaller."""
    smallest = {"vgg11": 16, "vgg13": 16, "vggsnn_dvs": 16, "sew_resnet34": 32, "preact_resnet34": 32}
    side = dict.fromkeys(options("dataset"), 32) | {"digits": 8, "digits_dvs": 12, "fashion_mnist": 28}
    side |= dict.fromkeys(("direction", "direction_90", "which_digit"), 16)
    needed = smallest.get(arch, 8)
    small, fit = ([name for name in side if (side[name] >= needed) is fits] for fits in (False, True))
    make(f"arch={arch}", f"dataset={min(fit, key=lambda name: side[name])}")
    if small:
        with pytest.raises(ConfigError) as told:
            compose_grid([f"arch={arch}", f"dataset={','.join(small)}"])
        lines = str(told.value).splitlines()
        for name, line in zip(small, lines, strict=True):
            assert line.startswith(f"arch={arch} with dataset={name}")
            assert f"at least {needed} x {needed}" in line


def test_the_default_neuron_is_the_papers(plain: DictConfig) -> None:
    neuron = plain.neuron
    assert math.isclose(1 - 1 / neuron.tau, 0.2) and not neuron.decay_input
    assert (neuron.v_threshold, neuron.v_reset, neuron.detach_reset) == (1.0, None, True)
    assert (neuron.surrogate, neuron.alpha) == ("sigmoid", 4.0)
    assert make("neuron=lif_hard").neuron.v_reset == 0.0
    assert "tau" not in make("neuron=if").neuron


def test_the_recipe_of_the_data_set_is_read() -> None:
    cfg = make("dataset=cifar10")
    assert (cfg.trainer.epochs, cfg.trainer.batch_size) == (300, 128)
    assert (cfg.optimizer.lr, cfg.optimizer.momentum, cfg.optimizer.weight_decay) == (0.1, 0.9, 5e-4)


def test_an_explicit_choice_wins_over_the_recipe() -> None:
    adamw = make("dataset=cifar10", "optimizer=adamw")
    assert (adamw.optimizer.lr, adamw.optimizer.weight_decay) == (1e-3, 0.01)
    cfg = make("dataset=cifar10", "optimizer.lr=0.3", "trainer.epochs=7", "trainer.batch_size=32")
    assert (cfg.optimizer.lr, cfg.trainer.epochs, cfg.trainer.batch_size) == (0.3, 7, 32)


def test_the_paper_trainer_is_the_published_protocol() -> None:
    paper = make("trainer=paper", "dataset=cifar10", "arch=vgg11")
    assert paper.trainer.loss_over_T and paper.trainer.headline == "best" and paper.arch.init == "published"
    assert paper.trainer.epochs == 300
    assert make("trainer=paper", "dataset=cifar10", "arch=vgg11", "arch.init=default").arch.init == "default"
    usual = make("dataset=cifar10", "arch=vgg11")
    assert not usual.trainer.loss_over_T and usual.trainer.headline == "last" and usual.arch.init == "default"


def test_a_frozen_config_is_settled_and_cannot_be_changed(plain: DictConfig) -> None:
    assert "${" not in OmegaConf.to_yaml(plain) and "hydra" not in plain
    with pytest.raises(Exception, match="read-only"):
        plain.T = 8


def test_a_bare_number_of_a_group_is_an_option_of_it() -> None:
    assert read_command_line(["-m", "T=2,4", "seed=1,2"]) == CommandLine(["T='2','4'", "seed=1,2"], grid=True)
    assert read_command_line(["T=4"]) == CommandLine(["T='4'"], grid=False)


# --- identity -----------------------------------------------------------------------------------------------


def test_each_key_counts_for_the_identity_unless_the_schema_says_otherwise(
    plain: DictConfig,
) -> None:
    keys = leaves(as_dict(plain))
    assert len(keys) > 50
    for key in keys:
        undecisive = any(key == listed or key.startswith(f"{listed}.") for listed in not_in_identity())
        assert (identity(changed(plain, key)) == identity(plain)) == undecisive, key


@pytest.mark.parametrize(
    "override",
    [
        "trainer.device=cpu",
        "trainer.threads=1",
        "trainer.progress=none",
        "trainer.log_every=1",
        "runs_dir=/elsewhere",
        "dataset.root=/elsewhere",
        "dataset.download=true",
        "sweep.name=other",
        "sweep.about=words",
        "eval_only=true",
        "dataset.recipe.lr=0.1",
        "optimizer.lr=0.1",  # the recipe's, said outright
        "optimizer.lr=1e-1",
        "trainer.initial_weights=published",  # digits_cnn does not read it
    ],
)
def test_the_same_run_said_otherwise_has_the_same_identity(plain: DictConfig, override: str) -> None:
    assert identity(make(override)) == identity(plain)


@pytest.mark.parametrize(
    "override",
    [
        "T=2",
        "seed=1",
        "grad_mode=bptt",
        "step_mode=s",
        "optimizer.lr=0.2",
        "trainer.precision=bf16",
        "dataset.recipe.lr=0.2",
        "dataset.val_split=0.1",
        "trainer.limit_batches=2",
        "neuron.alpha=2",
    ],
)
def test_another_run_has_another_identity(plain: DictConfig, override: str) -> None:
    assert identity(make(override)) != identity(plain)


def test_the_identity_does_not_depend_on_the_order_of_keys_nor_on_1_or_1_0() -> None:
    one = OmegaConf.create({"T": 4, "optimizer": {"lr": 1, "betas": [0, 1]}})
    two = OmegaConf.create({"optimizer": {"betas": [0.0, 1.0], "lr": 1.0}, "T": 4})
    assert identity(one) == identity(two)
    assert identity(OmegaConf.create({"x": True})) != identity(OmegaConf.create({"x": 1}))


def test_the_way_of_hashing_is_pinned_since_runs_resume_by_it() -> None:
    assert identity(OmegaConf.create({"T": 4, "optimizer": {"lr": 0.1}, "runs_dir": "x"})) == "21e9cf09"


def test_folders_are_readable_and_separate_by_sweep() -> None:
    cfg = make("dataset=cifar10", "arch=resnet18", "seed=3")
    assert folder_name(cfg) == f"cifar10-resnet18-T4-m-rate-s3-{identity(cfg)}"
    assert str(run_folder(cfg)) == f"runs/single/{folder_name(cfg)}"
    assert str(run_folder(make("sweep.name=mine", "runs_dir=/r"))).startswith(
        "/r/mine/digits-digits_cnn-T4-m-rate-s0-"
    )


def test_identity_leaves_the_config_as_it_was(plain: DictConfig) -> None:
    before = copy.deepcopy(OmegaConf.to_container(plain))
    identity(plain)
    assert OmegaConf.to_container(plain) == before


# --- rules --------------------------------------------------------------------------------------------------


def test_all_problems_of_a_config_are_told_in_one_message() -> None:
    with pytest.raises(ConfigError) as told:
        make(
            "neuron.alpha=0", "trainer.precision=fp16", "dataset.augment.autoaugment=true", "trainer.epochs=0"
        )
    lines = str(told.value).splitlines()
    starts = ["neuron.alpha=0", "trainer.epochs=0", "trainer.precision=fp16"]
    assert [line.split(":")[0] for line in lines] == starts  # warm-up is not compared with 0 epochs
    assert "fp32, bf16" in lines[2]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.val_split=1"], r"dataset.val_split=1.0: .* 0 to below 1"),
        (["optimizer.lr=inf"], r"optimizer.lr=inf: must be a finite number above 0"),
        (["optimizer.lr=true"], r"optimizer.lr=true: must be a finite number above 0"),
        (["optimizer.warmup_epochs=12"], r"warmup_epochs=12: must be below trainer.epochs=12"),
        (["optimizer=adamw", "optimizer.betas=[0.9,1]"], r"optimizer.betas=\[0.9,1\]: must be two numbers"),
        (["neuron.tau=1"], r"neuron.tau=1: must be a finite number above 1"),
        (["neuron.v_reset=1.5"], r"neuron.v_reset=1.5: must be null or below neuron.v_threshold=1.0"),
        (["neuron.surrogate=relu"], r"neuron.surrogate=relu: must be one of sigmoid, atan"),
        (["dataset.augment.autoaugment=true"], r"autoaugment=true with dataset=digits.* 3 colour"),
        (["dataset.std=[0]"], r"dataset.std=\[0.0\]: must be a list of finite numbers, 1e-6 or more"),
        (["dataset.mean=[nan]"], r"dataset.mean=\[nan\]: must be a list of finite numbers"),
        (["dataset.mean=[0,0]"], r"dataset.mean=\[0.0, 0.0\]: must have one number per channel, 1"),
        (["trainer.device=gpu"], r"trainer.device=gpu: must be auto, cpu, cuda"),
        (["arch=vgg11", "dataset=cifar10", "arch.init=kaiming"], r"arch.init=kaiming: .* default, published"),
        (["checkpoint=x.pt"], r"checkpoint=x.pt: is read with eval_only=true"),
        (["sweep.name=a/../b"], r"sweep.name=a/../b: must be null or a folder name"),
        (["sweep.name=" + "s" * 129], "of at most 128 letters"),
        (["tracker.project=" + "p" * 129], "tracker.project=p.*: must be a name of at most 128"),
        (["tracker.tags=[" + "x" * 65 + "]"], "tracker.tags=.*: must be a list of texts of 1 to 64"),
        (["tracker.tags=['']"], "tracker.tags=.*: must be a list of texts of 1 to 64"),
        (["+trainer.epoch=3"], r"trainer.epoch: no such key; there are name, epochs"),
        (
            ["dataset=digits_dvs", "dataset.frames=video"],
            r"dataset.frames=video: must be null .* or one of counts, paper",
        ),
        (["dataset=digits_dvs", "dataset.frames_by=null"], r"dataset.frames_by=null: must be set where"),
        (
            ["dataset=digits_dvs", "dataset.on_error=ask"],
            r"on_error=ask: must be null .* or one of raise, skip",
        ),
        (["dataset=digits_dvs", "dataset.split_seed=-1"], r"dataset.split_seed=-1: must be null or a whole"),
        (["dataset=digits_dvs", "dataset.T=4"], r"dataset.T=4: must be the run's T=8"),
        (["dataset.augment.roll=9"], r"dataset.augment.roll=9: must be at most dataset.size=8"),
        (["arch.channels=3"], r"arch=digits_cnn with dataset=digits: the images have 1 channels"),
    ],
)
def test_a_value_out_of_range_is_refused_by_key_value_and_what_is_allowed(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(*overrides)


def test_a_neuron_of_ones_own_may_have_other_keys(plain: DictConfig) -> None:
    other = OmegaConf.create(as_dict(plain))
    other.neuron = {"name": "mine", "_target_": "some.where", "threshold": 0.5, "v_reset": 0.0}
    assert problems(other) == []


def test_a_group_with_keys_of_its_own_takes_new_ones_only_when_asked() -> None:
    assert make("+optimizer.nesterov=true").optimizer.nesterov is True


def test_a_data_set_may_have_a_T_of_its_own_and_the_command_line_still_wins(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "events.yaml").write_text(
        "# @package _global_\n"  # without it, Hydra looks for a group T inside dataset
        'defaults: [cifar10@dataset, {override /T: "10"}, _self_]\ndataset: {name: events}\n'
    )
    more = [f"hydra.searchpath=[file://{tmp_path}]", "dataset=events"]
    assert make(*more).dataset.name == "events"
    assert make(*more).T == 10 and make(*more, "T=2").T == 2
