"""A batch in parts has the gradient of the whole and the memory of a part; clipped gradients their norm."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rbp.errors import ConfigError
from rbp.train import train
from rbp.train.state import TrainState, set_up
from rbp.train.step.mixup import Target
from rbp.train.step.training_step import n_parts, training_step
from tests.support.configs import make
from tests.support.networks import MODES
from tests.support.run_folders import metrics
from tests.support.training import short

WITHOUT_NORM = "arch._target_=tests.support.networks.without_norm"


@pytest.mark.parametrize("world", [1, 2, 3])
def test_parts_are_as_many_on_every_rank_none_too_large_and_no_image_alone(world: int) -> None:
    for part in range(1, 6):
        for images in range(world, 40):
            shares = [len(own) for own in torch.arange(images).tensor_split(world)]
            parts = n_parts(images, part, world)
            sizes = [len(x) for share in shares for x in torch.arange(share).tensor_split(parts)]
            assert min(sizes) >= 1
            assert world > 1 or part == 1 or min(sizes) >= min(2, images)
            one_more = images % (world * part) != 0 and part <= 2  # only a last batch, in the smallest parts
            assert max(sizes) <= part + one_more
            assert parts == 1 or max(shares) > part * (parts - 1)  # no more parts than are needed
    assert [n_parts(32, 8, 1), n_parts(32, 4, 2), n_parts(17, 8, 1), n_parts(8, 8, 1)] == [4, 4, 3, 1]
    assert [n_parts(5, 2, 1), n_parts(4, 1, 1), n_parts(5, 1, 2)] == [2, 4, 2]


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Any:
    """float64, where no rounding makes another spike, up to the loss, which is computed in float32 else."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def stepped(images: int, parts: int, *settings: str, frames: int = 0) -> tuple[TrainState, torch.Tensor, int]:
    """A training step: the run's state after it, the loss, the right answers."""
    job = set_up(make("trainer.device=cpu", "T=3", *settings))
    channels = job.cfg.dataset.channels
    shape = (images, frames, channels, 8, 8) if frames else (images, channels, 8, 8)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    y = torch.arange(images) % 10
    loss, correct, _ = training_step(job, x, Target(y, y.flip(0), 0.7), 1.0, parts)
    return job, loss, int(correct)


def gradients(job: TrainState) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in job.net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("grad_mode", "step_mode"), MODES)
@pytest.mark.parametrize(("images", "frames"), [(16, 0), (13, 0), (8, 3)])
def test_in_parts_the_gradient_is_that_of_the_whole_batch(
    double: None, grad_mode: str, step_mode: str, images: int, frames: int
) -> None:
    settings = [WITHOUT_NORM, "neuron=plif", f"grad_mode={grad_mode}", f"step_mode={step_mode}"]
    whole, loss, correct = stepped(images, 1, *settings, frames=frames)
    parts, loss_of_parts, correct_of_parts = stepped(images, 4, *settings, frames=frames)
    assert loss_of_parts.item() == pytest.approx(loss.item(), rel=1e-13) and correct_of_parts == correct
    one, two = gradients(whole), gradients(parts)
    assert one.keys() == two.keys() and len(one) > 6
    for name, expected in one.items():
        torch.testing.assert_close(two[name], expected, rtol=1e-12, atol=1e-13, msg=name)


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_a_run_in_parts_keeps_the_bytes_of_a_part_and_makes_as_many_steps(
    tmp_path: Path, grad_mode: str
) -> None:
    def trained(*settings: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        once = ["trainer.epochs=1", f"grad_mode={grad_mode}"]
        cfg, run = short(tmp_path, *once, *settings)
        return train(cfg, run.path), metrics(run)

    parts, lines = trained("trainer.batch_size=32", "trainer.accumulate=4")
    small, _ = trained("trainer.batch_size=8")
    whole, _ = trained("trainer.batch_size=32")
    others = 24 * (8 * 8 * 4 + 8)  # images and labels of the other parts, of which a part is a view
    assert parts["peak_memory_bytes"] == small["peak_memory_bytes"] + others
    assert parts["peak_memory_bytes"] < whole["peak_memory_bytes"] / 1.5
    assert (lines[0]["step"], lines[0]["images"]) == (3, 96)
    assert parts["images_per_second"] == pytest.approx(32 / parts["step_seconds"])


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_clipped_the_update_has_the_largest_norm_allowed_and_the_same_direction(
    double: None, grad_mode: str, parts: int
) -> None:
    plain = ["optimizer.lr=1", "optimizer.momentum=0", "optimizer.weight_decay=0", WITHOUT_NORM]
    plain += ["optimizer.schedule=constant", f"grad_mode={grad_mode}"]
    start = set_up(make("trainer.device=cpu", "T=3", *plain)).net.state_dict()

    def update(*settings: str) -> torch.Tensor:
        end = stepped(16, parts, *plain, *settings)[0].net.state_dict()
        return torch.cat([(end[name] - start[name]).flatten() for name in start])

    free, clipped = update(), update("trainer.clip_grad=0.0625")
    assert free.norm() > 0.1
    assert clipped.norm().item() == pytest.approx(0.0625, rel=1e-4)  # torch divides by norm + 1e-6
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(update("trainer.clip_grad=100"), free, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["trainer.accumulate=3", "trainer.batch_size=32"], "trainer.accumulate=3: must divide .*size=32"),
        (["trainer.accumulate=0"], "trainer.accumulate=0: must be a whole number, 1 or more"),
        (["trainer.clip_grad=0"], r"trainer.clip_grad=0.*: must be null \(any\) or a finite number above 0"),
        (["trainer.mixup=-1"], "trainer.mixup=-1.*: must be a finite number, 0 or more"),
        (
            ["trainer.early_stop=0", "dataset.val_split=0.1"],
            "trainer.early_stop=0: must be null .never. or a",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(*settings)
