"""What is minimised: label smoothing by its formula, a lab's own loss, and wrong ones refused by name."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from rbp.config.identity import identity
from rbp.errors import ConfigError
from rbp.provenance import code_version, own_roots
from rbp.sweep.launch import main
from rbp.sweep.launchers.snapshot import take_snapshots
from rbp.train import train
from rbp.train.state import set_up
from rbp.train.step.loss import build_loss, cross_entropy
from rbp.train.step.mixup import Target
from rbp.train.step.training_step import training_step
from tests.support.configs import as_dict, make
from tests.support.run_folders import metrics
from tests.support.training import short

FOCAL = ["loss._target_=tests.support.losses.focal", "+loss.gamma=2"]


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    outputs, smoothing = [[2.0, 1.0, 0.0, 0.0], [0.0, 0.5, 3.0, 1.0]], 0.2
    expected = 0.0
    for row, label in zip(outputs, (0, 1), strict=True):
        total = sum(map(math.exp, row))
        wanted = [smoothing / 4 + (1 - smoothing) * (k == label) for k in range(4)]
        expected -= sum(q * (z - math.log(total)) for q, z in zip(wanted, row, strict=True)) / 2
    found = cross_entropy(torch.tensor(outputs, dtype=torch.float64), torch.tensor([0, 1]), smoothing)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    plain = cross_entropy(torch.tensor(outputs), torch.tensor([0, 1]))
    assert torch.equal(plain, F.cross_entropy(torch.tensor(outputs), torch.tensor([0, 1])))


@pytest.mark.parametrize("settings", [["loss.label_smoothing=0.3"], FOCAL], ids=["smoothed", "focal"])
def test_training_has_the_loss_and_evaluation_the_plain_cross_entropy(
    tmp_path: Path, settings: list[str]
) -> None:
    """With a rate so small that no weight changes, and no batch norm, both losses are those at the start."""
    still = ["optimizer.lr=1e-30", "arch._target_=tests.support.networks.without_norm", "trainer.epochs=1"]
    lines = []
    for changed in ([], settings):
        cfg, run = short(tmp_path, *still, *changed)
        train(cfg, run.path)
        lines += metrics(run)
    plain, own = lines
    assert own["test_loss"] == plain["test_loss"] and own["test_acc"] == plain["test_acc"]
    assert abs(own["train_loss"] - plain["train_loss"]) > 1e-4


def test_a_loss_of_ones_own_is_what_the_step_minimises() -> None:
    job = set_up(make("trainer.device=cpu", *FOCAL))
    x, y = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    job.net.eval()
    with torch.no_grad():
        p = job.forward(x).double().softmax(1)[torch.arange(8), y]
    loss, _, _ = training_step(job, x, Target(y))
    assert loss.item() == pytest.approx((-((1 - p) ** 2) * p.log()).mean().item(), rel=1e-5)


def test_label_smoothing_that_is_off_is_no_argument_of_a_loss_without_it() -> None:
    loss = build_loss(make("loss._target_=torch.nn.functional.multi_margin_loss", "+loss.margin=2"))
    outputs, labels = torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([0])
    assert loss(outputs, labels).item() == pytest.approx((1 + 1.5) / 3)  # max(0, 2 - 1 + x_k) over K classes


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["loss._target_=no.such.loss"], r"loss._target_=no.such.loss: cannot be imported"),
        (["+loss.gamma=2"], r"loss=time_mean: rbp.train.step.loss.cross_entropy takes other keys: .*gamma"),
        ([FOCAL[0], "loss.label_smoothing=0.1"], r"losses.focal takes other keys: .*label_smoothing"),
        (["loss._target_=tests.support.losses.of_each_image"], r"must return a scalar .* of shape \[21\]"),
        (["loss._target_=tests.support.losses.without_gradient"], r"must .* not one without a gradient"),
        (["loss._target_=tests.support.losses.number"], r"must return a scalar tensor .*; not \d"),
        (["loss._target_=tests.support.losses.failing"], r"cannot be called with .*: IndexError: too many"),
        (
            ["loss._target_=torch.nn.CrossEntropyLoss"],
            "torch.nn.CrossEntropyLoss cannot be called with",
        ),
        (
            ["loss._target_=tests.support.losses.total", "trainer.accumulate=2"],
            r"losses.total: must be the mean of .*accumulate=2",
        ),
    ],
)
def test_a_wrong_loss_is_refused_before_anything_is_written(
    here: Path, capsys: pytest.CaptureFixture[str], settings: list[str], told: str
) -> None:
    for grid in ([], ["-m"]):
        assert main([*settings, "trainer=debug", "trainer.device=cpu", "tracker=none", *grid]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: loss") and "Traceback" not in error
    with pytest.raises(ConfigError, match=told):
        set_up(make("trainer.device=cpu", *settings))
    assert not Path("runs").exists()


def test_a_loss_that_is_no_mean_is_refused_only_where_a_batch_is_shared_out() -> None:
    total = make("loss._target_=tests.support.losses.total")
    build_loss(total)
    with pytest.raises(ConfigError, match=r"by several tasks; of a batch it is"):
        build_loss(total, world=2)
    build_loss(make(*FOCAL, "trainer.accumulate=2"), world=2)
    build_loss(make("loss.label_smoothing=0.1", "trainer.accumulate=2"), world=2)
    for name in ("weighted", "but_the_last_class", "spread_of_classes"):
        other = make(f"loss._target_=tests.support.losses.{name}")
        build_loss(other)
        with pytest.raises(ConfigError, match=r"must be the mean of the images' losses"):
            build_loss(other, world=2)


@pytest.mark.parametrize("name", ["changes_labels", "changes_outputs"])
def test_a_loss_that_changes_what_it_is_given_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"changes the outputs or the labels that it is given"):
        build_loss(make(f"loss._target_=tests.support.losses.{name}"))


@pytest.mark.parametrize("smoothing", ["1", "-0.1", "null"])
def test_smoothing_is_a_share_below_one(smoothing: str) -> None:
    with pytest.raises(ConfigError, match=r"loss.label_smoothing=.*: must be a number from 0 to below 1"):
        make(f"loss.label_smoothing={smoothing}")


def test_the_default_loss_is_that_of_before_and_another_is_another_run() -> None:
    values = as_dict(make())
    without = {key: value for key, value in values.items() if key != "loss"}
    assert identity(values) == identity(without) == identity(values | {"loss": {"name": "time_mean"}})
    others = [["loss.label_smoothing=0.1"], FOCAL, FOCAL[:1], [*FOCAL[:1], "+loss.gamma=3"]]
    assert len({identity(make(*settings)) for settings in [[], *others]}) == 5


def test_a_labs_loss_is_part_of_the_code_and_of_what_jobs_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "mine" / "lab_of_losses"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "losses.py").write_text("from lab_of_losses.parts import GAMMA\ndef focal(y, t): ...\n")
    (package / "parts.py").write_text("GAMMA = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    values = as_dict(make()) | {"loss": {"name": "focal", "_target_": "lab_of_losses.losses.focal"}}
    code, before = code_version(values), code_version(make())
    assert "lab_of_losses.losses.focal" in code["targets"] and code["hash"] != before["hash"]
    assert own_roots([values]) == {tmp_path / "mine": frozenset({"lab_of_losses"})}
    copy, _ = take_snapshots(tmp_path / "code", [values])
    assert sorted(p.name for p in copy.rglob("*.py")) == ["__init__.py", "losses.py", "parts.py"]
