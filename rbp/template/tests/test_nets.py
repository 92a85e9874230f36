"""Is the network fit for rate mode, and do the grids compose and train?"""

from pathlib import Path

import pytest
import rbp
import torch
import torch.nn.functional as F
from rbp.cli import main
from spikingjelly.activation_based.neuron import LIFNode
from torch import nn

from mylab.losses import focal
from mylab.nets import mylab_net

ROOT = Path(__file__).resolve().parents[1]
SWEEPS = sorted(file.stem for file in (ROOT / "sweeps").glob("*.yaml"))


def net() -> nn.Module:
    torch.manual_seed(0)
    return mylab_net(lambda: LIFNode(1.25, False, v_reset=None, detach_reset=True), 1, 10, width=8)


def test_both_gradient_modes_compute_the_network_and_agree_with_backpropagation_at_one_step() -> None:
    found = rbp.rate.verify(net(), torch.rand(4, 1, 8, 8), T=3)
    assert found.ok, found


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_every_weight_gets_a_gradient(grad_mode: str) -> None:
    network = net()
    rbp.forward(network, 3 * torch.rand(4, 1, 8, 8), T=4, grad_mode=grad_mode).square().sum().backward()
    without = [
        name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert not without


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_cell_of_a_grid_can_be_composed(sweep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["train", f"sweeps={sweep}", "--dry-run"]) == 0


def test_the_focal_loss_without_focus_is_the_cross_entropy() -> None:
    outputs, labels = torch.randn(6, 10), torch.arange(6)
    torch.testing.assert_close(focal(outputs, labels, 0.0), F.cross_entropy(outputs, labels))
    assert focal(outputs, labels, 2.0) < focal(outputs, labels, 0.0)


def test_two_batches_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    line = [
        "train",
        "arch=mylab_net",
        "loss=mylab_focal",
        "trainer=debug",
        "trainer.device=cpu",
        "tracker=none",
    ]
    assert main([*line, f"runs_dir={tmp_path}"]) == 0
    (run,) = tmp_path.glob("single/*")
    network, cfg = rbp.load(run)
    assert rbp.forward(network, torch.rand(2, 1, 8, 8), T=cfg.T).shape == (2, 10)
