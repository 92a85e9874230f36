"""Accuracy after t steps and the operations of a run, as its result and `rbp eval` have them."""

import json
from pathlib import Path

import pytest
import torch

import rbp
from rbp.cli import main
from rbp.data import eval_batches
from rbp.data import load as load_data
from rbp.errors import Preempted
from rbp.runs.result import read_result
from rbp.train import evaluate, train
from rbp.train.state import set_up
from tests.support.configs import make
from tests.support.operations import counted
from tests.support.training import Scheduled, short

FOUR = ("T=4", "trainer.eval_batch_size=96", "trainer.limit_batches=4", "trainer.epochs=1")


@pytest.mark.parametrize("overrides", [(), ("step_mode=s",), ("grad_mode=bptt",)])
def test_the_result_has_the_accuracy_of_the_mean_of_the_first_t_outputs(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    cfg, run = short(tmp_path, *FOUR, *overrides)
    result = train(cfg, run.path)
    net, _ = rbp.load(run.path)
    batches = list(eval_batches(load_data(cfg.dataset).test, cfg.dataset, batch_size=96))
    right, images = [0] * 4, 0
    with torch.no_grad():
        for x, y in batches:
            steps = rbp.forward(net, x, T=4, step_mode=cfg.step_mode, per_step=True)
            for t in range(4):
                right[t] += int((steps[: t + 1].mean(0).argmax(1) == y).sum())
            images += len(y)
    assert result["test_acc_over_t"] == [n / images for n in right]
    assert result["test_acc_over_t"][-1] == result["test_acc"] and result["why_null"] == {}
    assert read_result(run.path) == result


def test_the_operations_are_those_of_the_images_that_are_said(tmp_path: Path) -> None:
    """Of batches 0 and 2 of four of 96 images, every 16th: the same as of these images alone."""
    cfg, run = short(tmp_path, *FOUR)
    result = train(cfg, run.path)
    net, _ = rbp.load(run.path)
    batches = list(eval_batches(load_data(cfg.dataset).test, cfg.dataset, batch_size=96))
    x = torch.cat([batches[i][0][::16] for i in (0, 2)])
    assert result["operations"] == counted(net, x.expand(4, *x.shape))
    assert result["operations"]["images"] == 12


def test_evaluating_again_gives_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg, run = short(tmp_path, *FOUR)
    result = train(cfg, run.path)
    again = evaluate(cfg, run.path)
    for key in ("test_acc", "test_acc_over_t", "operations", "why_null"):
        assert again[key] == result[key]
    assert main(["eval", str(run.path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    assert found["operations"] == result["operations"]
    assert main(["eval", str(run.path)]) == 0
    header, line, *_ = capsys.readouterr().out.splitlines()
    for heading in ("acc over t", "additions", "MACs", "uJ as ANN"):
        assert heading in header
    assert " ".join(f"{100 * acc:.1f}" for acc in result["test_acc_over_t"]) in line
    assert f"{result['operations']['ann']['energy_uj']:.4g}" in line


HIDES = ("arch._target_=tests.support.networks.mean_itself", "+arch.layout=static", "T=2")


def test_a_network_that_hides_its_steps_has_null_and_why() -> None:
    from rbp.train.evaluate import score

    training = set_up(make("trainer.device=cpu", "grad_mode=bptt", "trainer.limit_batches=2", *HIDES))
    torch.manual_seed(0)
    found = score(training, training.splits.test, counted=True)
    assert found["acc_over_t"] is None and "takes the time mean" in found["why_null"]["test_acc_over_t"]
    assert (
        found["operations"]["layers"]["first.1"]["macs"] == 2 * 64 * 20
        and not found["operations"]["not_counted"]
    )
    drawn = torch.rand(3)
    torch.manual_seed(0)
    again = score(training, training.splits.test)  # known now: no pass is made in vain
    assert again["loss"] == found["loss"] and torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "overrides",
    [
        ("step_mode=m",),
        ("step_mode=s",),
        ("arch=dvs_cnn", "dataset=digits_dvs"),
        ("T=3", "grad_mode=bptt"),
    ],
)
def test_outputs_by_step_leave_the_output_its_bits(precision: str, overrides: tuple[str, ...]) -> None:
    training = set_up(make("trainer.device=cpu", f"trainer.precision={precision}", *overrides))
    training.net.eval()
    cfg = training.cfg
    x, _ = next(iter(eval_batches(training.splits.test, cfg.dataset, batch_size=20)))
    with torch.no_grad():
        outputs, steps = training.outputs(x)
        assert torch.equal(outputs, training.forward(x))
    assert steps is not None and steps.shape[:2] == (cfg.T, 20)


def test_a_run_stopped_and_resumed_has_the_same_figures(tmp_path: Path) -> None:
    cfg, run = short(tmp_path / "a", *FOUR)
    whole = train(cfg, run.path)
    cfg, run = short(tmp_path / "b", *FOUR)
    with pytest.raises(Preempted):
        train(cfg, run.path, Scheduled(6))
    resumed = train(cfg, run.path)
    for key in ("test_acc_over_t", "operations", "why_null"):
        assert resumed[key] == whole[key]
