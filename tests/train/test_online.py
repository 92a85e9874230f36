"""Training by the online modes and with losses over the steps: resumed to a bit, in parts, what is drawn."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from rbp.errors import Preempted
from rbp.runs.folder import RunFolder
from rbp.train import train
from rbp.train.resume.interrupt import Interruption
from rbp.train.state import TrainState, set_up
from rbp.train.step.loss import cross_entropy, tet
from rbp.train.step.mixup import Target
from rbp.train.step.training_step import training_step
from tests.support.configs import make
from tests.support.training import EVERYTHING, Scheduled, Undisturbed, same_end, short

MODES = [
    ("grad_mode=sltt",),
    ("grad_mode=sltt", "grad_mode.backprop_steps=1"),
    ("grad_mode=ottt", "loss=tet"),
    ("grad_mode=bptt", "loss=per_step"),
    ("grad_mode=rate", "loss=tet"),
]
WITHOUT_NORM = "arch._target_=tests.support.networks.without_norm"


def stopped_at(places: list[int], cfg: DictConfig, run: RunFolder) -> None:
    for place in places:
        with pytest.raises(Preempted):
            train(cfg, run.path, Scheduled(place))
    train(cfg, run.path, Interruption())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_stopped_in_mid_epoch_it_goes_on_with_the_same_bits(
    tmp_path: Path, undisturbed: Undisturbed, mode: tuple[str, ...]
) -> None:
    overrides = [*EVERYTHING, *mode, "T=3", "trainer.accumulate=2", "trainer.clip_grad=0.5"]
    cfg, run = short(tmp_path, *overrides)
    stopped_at([2, 1, 4], cfg, run)
    same_end(undisturbed(*overrides), run)


def step_of(job: TrainState, place: tuple[int, int] = (0, 0), parts: int = 1) -> dict[str, torch.Tensor]:
    """The gradients of a training step on a batch of its own."""
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    state = {name: value.clone() for name, value in job.net.state_dict().items()}
    training_step(job, x, Target(torch.arange(8)), parts=parts, place=place)
    job.net.load_state_dict(state)
    return {name: p.grad.clone() for name, p in job.net.named_parameters() if p.grad is not None}


def job(*settings: str) -> TrainState:
    return set_up(make("trainer.device=cpu", WITHOUT_NORM, "neuron=plif", *settings))


@pytest.mark.parametrize("mode", ["sltt", "ottt"])
def test_in_parts_the_same_steps_are_drawn_and_gradients_add_up(mode: str) -> None:
    settings = [f"grad_mode={mode}", "T=6", "grad_mode.backprop_steps=2"]
    whole, parts = step_of(job(*settings)), step_of(job(*settings), parts=4)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-7)


def test_the_drawn_steps_depend_on_seed_epoch_and_batch_alone() -> None:
    settings = ["grad_mode=sltt", "T=12", "grad_mode.backprop_steps=1", "neuron.v_threshold=0.3"]
    one, other = job(*settings), job(*settings, "seed=1")
    other.net.load_state_dict(one.net.state_dict())

    def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(a[name], b[name]) for name in a)

    first = step_of(one, (0, 0))
    torch.rand(100)  # as other work does
    assert same(step_of(one, (0, 0)), first)
    assert not same(step_of(one, (0, 1)), first) or not same(step_of(one, (0, 2)), first)
    assert not same(step_of(one, (1, 0)), first) or not same(step_of(one, (2, 0)), first)
    assert not same(step_of(other, (0, 0)), first) or not same(step_of(other, (0, 1)), step_of(one, (0, 1)))


def test_rescaling_multiplies_by_T_over_K() -> None:
    settings = ["grad_mode=sltt", "T=6", "grad_mode.backprop_steps=2"]
    plain, rescaled = step_of(job(*settings)), step_of(job(*settings, "grad_mode.rescale=true"))
    for name, gradient in plain.items():
        torch.testing.assert_close(rescaled[name], 3 * gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("mode", ["sltt", "ottt"])
def test_the_recorded_memory_is_that_of_one_step(tmp_path: Path, mode: str) -> None:
    peaks = []
    for T in (2, 12):
        cfg, run = short(tmp_path, f"grad_mode={mode}", f"T={T}", "trainer.epochs=1")
        train(cfg, run.path)
        peaks.append(json.loads(run.result.read_text())["peak_memory_bytes"])
    assert peaks[0] == peaks[1] > 0


def test_tet_is_the_cross_entropy_and_the_distance_of_every_output_from_phi() -> None:
    outputs = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 2])
    distance = (1 + 1 + 4 + 0.25 + 0.25 + 0) / 6
    for smoothing in (0.0, 0.2):
        plain = cross_entropy(outputs, labels, smoothing)
        found = tet(outputs, labels, w=0.25, label_smoothing=smoothing)
        assert found.item() == pytest.approx(0.75 * plain.item() + 0.25 * distance, rel=1e-12)
    assert tet(outputs, labels).item() == pytest.approx(
        0.999 * cross_entropy(outputs, labels).item() + 0.001 * distance, rel=1e-12
    )
    assert tet(outputs, labels, phi=2.0, w=0.5) > tet(outputs, labels, phi=1.0, w=0.5)


def test_the_train_loss_of_a_loss_over_steps_is_that_of_the_steps() -> None:
    """Larger than that of the time mean, as the cross-entropy is convex."""
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = []
    for loss in ("time_mean", "per_step"):
        with_norm = set_up(make("trainer.device=cpu", f"loss={loss}"))
        losses.append(training_step(with_norm, x, Target(torch.arange(8)))[0])
    assert losses[1] > losses[0] + 1e-4
