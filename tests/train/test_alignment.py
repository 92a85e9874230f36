"""`trainer.align_every`: what a run measures on its way, and that nothing else is another."""

import json
from pathlib import Path

import pytest

from rbp.errors import ConfigError, Preempted
from rbp.runs.alignment import NOISE_FLOOR, mean_of
from rbp.runs.folder import RunFolder
from rbp.sweep.grid.cell import Cell
from rbp.sweep.preflight.checks import preflight
from rbp.train import train
from rbp.train.alignment.modes import dial, modes
from rbp.train.alignment.of_run import measure_run, refuse_shared
from rbp.train.state import set_up
from tests.support.configs import as_dict, config
from tests.support.training import EVERYTHING, LOOKS, Scheduled, Undisturbed, same_end, short

EVERY = (*EVERYTHING, "trainer.align_every=1")
# The accuracy on the validation images stays the same from the first epoch on.
STILL = ("optimizer.lr=1e-9", "dataset.val_split=0.2", "trainer.batch_size=16")
PASSES = 8 * 3  # looks of a measurement: eight batches by BPTT, and with one and two segments


def lines(run: RunFolder) -> list[dict]:
    return [json.loads(line) for line in run.alignment.read_text().splitlines()]


def test_a_run_that_measures_ends_with_the_same_bits(undisturbed: Undisturbed) -> None:
    """With dropout, batch statistics, augmentation and a learnt leak."""
    run, without = undisturbed(*EVERY), undisturbed(*EVERYTHING)
    assert run.path.name == without.path.name and not without.alignment.exists()
    same_end(run, without)
    assert [line["epoch"] for line in lines(run)] == [0, 1, 2, 3]
    for line in lines(run):
        assert (line["T"], line["batches"], line["batch_size"]) == (2, 8, 16)
        assert list(line["modes"]) == ["rate", "rate segments=2"] and line["not_measured"] == {}
        assert mean_of(line, "rate segments=2") == pytest.approx(1.0)  # it is BPTT
        assert mean_of(line, "rate") == pytest.approx(1.0)  # exact: one layer of neurons, and images at rest
        assert -1 < (mean_of(line, NOISE_FLOOR) or 1) < 0.999
    told = [
        line for line in run.log.read_text().splitlines() if "cosine with BPTT's gradient, rate: " in line
    ]
    assert len(told) == 4


def test_the_batches_are_the_same_along_bptts_and_rates_training(tmp_path: Path) -> None:
    """And so at the start, where the weights are too, everything is."""
    found = []
    for mode in ("bptt", "rate"):
        cfg, run = short(tmp_path, f"grad_mode={mode}", "trainer.align_every=2", "trainer.epochs=2")
        train(cfg, run.path)
        found.append(lines(run))
    assert [line["epoch"] for line in found[0]] == [0, 2]
    assert found[0][0] == found[1][0] and found[0][1] != found[1][1]
    assert all(0.8 < (mean_of(line, "rate") or 0) < 0.9999 for run_lines in found for line in run_lines)


@pytest.mark.parametrize(
    ("more", "epochs"),
    [
        (["trainer.align_every=5", "trainer.epochs=1"], [0, 1]),
        (["trainer.align_every=3", "trainer.epochs=9", "trainer.early_stop=1", *STILL], [0, 2]),
    ],
    ids=["not a multiple", "stopped early"],
)
def test_the_last_epoch_is_measured_whichever_it_is(
    tmp_path: Path, more: list[str], epochs: list[int]
) -> None:
    cfg, run = short(tmp_path, *more)
    train(cfg, run.path)
    assert [line["epoch"] for line in lines(run)] == epochs


@pytest.mark.parametrize("place", [0, 5, PASSES + 3, PASSES + LOOKS, PASSES + LOOKS + 7])
def test_a_run_stopped_anywhere_measures_each_epoch_once(
    tmp_path: Path, undisturbed: Undisturbed, place: int
) -> None:
    """While it measures, between steps, and while it evaluates."""
    cfg, run = short(tmp_path, *EVERY)
    with pytest.raises(Preempted):
        train(cfg, run.path, Scheduled(place))
    train(cfg, run.path)
    assert lines(run) == lines(undisturbed(*EVERY))
    same_end(run, undisturbed(*EVERY))


def test_lines_of_epochs_that_are_trained_again_and_broken_ones_are_replaced(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    cfg, run = short(tmp_path, *EVERY)
    with pytest.raises(Preempted):
        train(cfg, run.path, Scheduled(PASSES + LOOKS + 7))  # has measured the start alone
    start = run.alignment.read_text()
    later = start.replace('{"epoch": 0', '{"epoch": 2')
    run.alignment.write_text(start + later + start[:100])
    train(cfg, run.path)
    assert lines(run) == lines(undisturbed(*EVERY))


def test_a_mode_of_ones_own_setting_and_the_online_ones_are_measured_where_they_fit() -> None:
    assert dial(1) == [1] and dial(6) == [1, 2, 4, 6] and dial(8) == [1, 2, 4, 8]
    uncoupled = config(T=4, grad_mode__name="rate", grad_mode__segments=3, grad_mode__coupled=False)
    names = ["rate", "rate segments=2", "rate segments=4", "rate segments=3 coupled=false"]
    assert [*modes(uncoupled)] == names and [*modes(uncoupled, [2])][:1] == ["rate segments=2"]
    by_step = config(T=2, step_mode="s", loss__over="steps")
    assert [*modes(by_step)] == ["rate", "rate segments=2", "sltt", "ottt"]
    assert [*modes(config(T=2, step_mode="s"))] == ["rate", "rate segments=2"]


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_by_sltt_k_measures_its_own_steps_too(tmp_path: Path, steps: int) -> None:
    """With K = T they are those of SLTT, bit for bit: drawing the steps draws no other masks."""
    own = ("grad_mode=sltt", f"grad_mode.backprop_steps={steps}", "step_mode=s", "loss.over=steps")
    cfg, _ = short(tmp_path, *EVERYTHING, *own)
    line = measure_run(set_up(cfg), epoch=0)
    name = f"sltt backprop_steps={steps}"
    assert [*line["modes"]] == ["rate", "rate segments=2", "sltt", "ottt", name]
    assert (line["modes"][name] == line["modes"]["sltt"]) == (steps == 2)
    norm, whole = (mean_of(line, mode, figure="norm") or 0 for mode in (name, "sltt"))
    assert norm == whole if steps == 2 else 0.3 * whole < norm < 0.8 * whole  # of one of two steps
    assert measure_run(set_up(cfg), epoch=0) == line


def test_cosines_are_of_the_training_losss_gradients_at_the_runs_weights(tmp_path: Path) -> None:
    """By hand for the head, which mixing and smoothing change: its gradient by rate mode is BPTT's."""
    cfg, _ = short(tmp_path, "trainer.mixup=0.4", "loss.label_smoothing=0.1", "trainer.loss_over_T=true")
    line = measure_run(training := set_up(cfg), epoch=7)
    assert line["epoch"] == 7 and line["left_out"] == []
    assert mean_of(line, "rate", "12") == pytest.approx(1.0)
    assert mean_of(line, "rate", "12", "norm") == pytest.approx(1.0, abs=1e-5)  # not 1/T
    assert training.net.training and all(p.grad is None for p in training.net.parameters())


@pytest.mark.parametrize("more", [{}, {"accumulate": 2}])
def test_too_few_batches_are_refused_before_anything_runs(tmp_path: Path, more: dict[str, int]) -> None:
    changes = {"batch_size": 256 * more.get("accumulate", 1), "align_every": 3, **more}
    cfg = config(runs_dir=str(tmp_path / "runs"), **{f"trainer__{key}": v for key, v in changes.items()})
    with pytest.raises(ConfigError, match=r"trainer\.align_every=3: .* 8 batches of 256 images .* make 5; "):
        preflight([Cell(as_dict(cfg))])
    assert not (tmp_path / "runs").exists()


def test_several_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.align_every=1: one task alone .* this run has 2"):
        refuse_shared(config(trainer__align_every=1), 2)
    refuse_shared(config(), 2)
    refuse_shared(config(trainer__align_every=1), 1)
