"""The main job on event data, from files in their true formats to a result."""

from pathlib import Path

import pytest
import torch

from rbp.sweep.launch import main
from rbp.train.state import set_up
from tests.support.configs import make
from tests.support.datasets import in_memory
from tests.support.event_recordings import write_cifar10_dvs, write_gesture, write_nmnist, write_pairs
from tests.support.run_folders import results

pytestmark = [pytest.mark.usefixtures("here", "one_thread"), pytest.mark.slow]

SHORT = ["trainer=debug", "trainer.batch_size=4", "trainer.eval_batch_size=4", "trainer.progress=none"]


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("zips", marks=pytest.mark.slow),
        "folders",
        pytest.param("aedat4", marks=pytest.mark.slow),
        pytest.param("events_np", marks=pytest.mark.slow),
        "pairs",
    ],
)
def test_the_issues_command_trains_on_every_form_of_the_files_at_T_10(form: str, here: Path) -> None:
    root = here / "data" / "cifar10_dvs"
    if form == "pairs":
        write_pairs(root, n_train=10, n_test=2)
    else:
        write_cifar10_dvs(root, form, n=2, n_events=50)
    line = ["dataset=cifar10_dvs", "arch=vggsnn_dvs", "step_mode=m", "grad_mode=rate", "dataset.size=16"]
    assert main([*line, *SHORT]) == 0
    (result,) = results()
    assert result["config"]["T"] == 10 and 0 <= result["test_acc"] <= 1


def test_gestures_train(here: Path) -> None:
    write_gesture(here / "data" / "dvs128_gesture")
    line = ["dataset=dvs128_gesture", "arch=dvs_cnn", "T=4", "dataset.frames_by=time"]
    assert main([*line, *SHORT]) == 0
    assert results()[0]["config"]["dataset"] == "dvs128_gesture"


def test_nmnist_trains(here: Path) -> None:
    write_nmnist(here / "data" / "nmnist", "zips")
    assert main(["dataset=nmnist", "arch=dvs_cnn", "T=4", "grad_mode=rate", *SHORT]) == 0
    (result,) = results()
    assert result["config"]["dataset"] == "nmnist" and 0 <= result["test_acc"] <= 1


def test_any_T_is_a_grid_and_each_is_prepared_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cifar10_dvs(here / "data" / "cifar10_dvs", "folders", n=2, n_events=50)
    line = ["-m", "dataset=cifar10_dvs", "arch=dvs_cnn", "sweep.name=grid", *SHORT]
    assert main([*line, "T=2,3", "grad_mode=bptt,rate"]) == 0
    assert sorted(r["config"]["T"] for r in results("grid")) == [2, 2, 3, 3]
    assert capsys.readouterr().out.count("is not prepared for T=") == 2


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_frames_train_in_all_four_combinations(precision: str) -> None:
    base = ["-m", "dataset=digits_dvs", "arch=dvs_cnn", "sweep.name=four", *SHORT, "trainer.batch_size=16"]
    assert main([*base, f"trainer.precision={precision}", "step_mode=m,s", "grad_mode=bptt,rate"]) == 0
    losses = {(r["config"]["step_mode"], r["config"]["grad_mode"]): r["train_loss"] for r in results("four")}
    assert len(losses) == 4
    # The first step is the same network on the same frames; the second has moved by another gradient.
    for step_mode in "ms":
        assert losses[step_mode, "rate"] == pytest.approx(losses[step_mode, "bptt"], rel=0.3)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_both_gradient_modes_start_from_the_same_output_and_the_order_of_frames_counts(
    step_mode: str,
) -> None:
    outputs = []
    for grad_mode in ("bptt", "rate"):
        line = ["dataset=digits_dvs", f"step_mode={step_mode}", f"grad_mode={grad_mode}", "T=4"]
        job = set_up(make(*line, "trainer.device=cpu"))
        x = in_memory(job.splits.test).pixels[:16].float()
        with torch.no_grad():
            outputs.append(job.forward(x))
            backwards = job.forward(x.flip(1))
        assert not torch.allclose(backwards, outputs[-1], atol=1e-3)
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # three to four minutes on a free core
def test_digits_dvs_is_learnt_in_both_gradient_modes_and_time_carries_information() -> None:
    line = ["-m", "dataset=digits_dvs", "arch=dvs_cnn", "sweep.name=time", "trainer.progress=none"]
    line += ["trainer.epochs=8"]
    assert main([*line, "grad_mode=rate", "T=1,8"]) == 0
    assert main([*line, "grad_mode=bptt", "T=8"]) == 0
    found = {(r["config"]["grad_mode"], r["config"]["T"]): r["test_acc"] for r in results("time")}
    assert len(found) == 3
    assert min(found["bptt", 8], found["rate", 8]) >= 0.90, found
    # At T=1 both gradient modes are the same.
    assert found["rate", 8] - found["rate", 1] >= 0.02, found


# --- bad input ----------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["dataset=cifar10_dvs", "arch=dvs_cnn", *SHORT, *argv]) != 0
    told = capsys.readouterr()
    assert told.err.startswith("error: ") and "Traceback" not in told.err
    assert not Path("runs").exists()
    return told.err


def test_broken_or_missing_event_data_stop_a_run_before_it_starts(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = here / "data" / "cifar10_dvs"
    assert "CIFAR10-DVS is not there" in refused(capsys)
    write_cifar10_dvs(root, "folders", n=3, n_events=20)
    (root / "dog" / "cifar10_dog_0.aedat").write_bytes(b"")
    assert "dog/cifar10_dog_0.aedat: is empty" in refused(capsys, "T=2")
    assert "dataset.on_error=skip" in refused(capsys, "T=2")
    line = ["dataset=cifar10_dvs", "arch=dvs_cnn", "T=2", "dataset.on_error=skip", *SHORT]
    assert main(line) == 0
    assert "skipped 1" in capsys.readouterr().out


def test_a_network_for_one_channel_is_refused_for_two_polarities(capsys: pytest.CaptureFixture[str]) -> None:
    assert "the images have 2 channels" in refused(capsys, "arch.channels=3")
