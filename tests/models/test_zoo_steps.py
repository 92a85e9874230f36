"""SpikingJelly's zoo by config trains in every mode; at one time step all modes are the same."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import rbp
from rbp.models import build
from rbp.sweep.launch import main
from tests.support.configs import made_once
from tests.support.networks import BPTT, RATE, distance, step
from tests.support.run_folders import results
from tests.support.zoo import LARGE, TINY, config, images

STEPS = [("bptt", "m"), ("bptt", "s"), ("rate", "m"), ("rate", "s"), ("sltt", "s"), ("ottt", "s")]


@pytest.mark.parametrize("name", [*TINY, *LARGE])
def test_a_training_step_in_every_mode(name: str) -> None:
    cfg = config(name, "dataset=cifar10")
    built, labels = build(cfg), torch.tensor([0, 1])
    for grad_mode, step_mode in STEPS:
        net = copy.deepcopy(built)
        how = {"layout": cfg.arch.layout, "grad_mode": grad_mode, "step_mode": step_mode}
        made = rbp.backward(net, images(cfg), lambda y: F.cross_entropy(y, labels), **how)
        assert made.y.shape == (2, 10) and made.loss.isfinite(), how
        moved = [p for p in net.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        assert all(p.grad.isfinite().all() for p in moved), how  # type: ignore[union-attr]
        assert len(moved) > len(list(net.parameters())) / 4, how


@pytest.mark.parametrize("grad_mode, step_mode", STEPS)
@pytest.mark.parametrize("name", ["sj_maxformer", "sj_spikformer"])
def test_the_generic_option_finds_out_how_a_model_takes_time(
    name: str, grad_mode: str, step_mode: str
) -> None:
    cfg, labels = config(name, "dataset=cifar10"), torch.tensor([0, 1])
    losses: list[torch.Tensor] = []
    for layout in (None, cfg.arch.layout):
        how: Any = {"layout": layout, "grad_mode": grad_mode, "step_mode": step_mode}
        made = rbp.backward(build(cfg), images(cfg), lambda y: F.cross_entropy(y, labels), **how)
        losses.append(made.loss)
    assert torch.equal(*losses)
    assert made_once("arch=spikingjelly").arch.layout is None


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("name", TINY)  # tests/rate/test_models.py has those that are whole networks
def test_at_one_step_rate_is_bptt(name: str, step_mode: str) -> None:
    cfg = config(name, "dataset=cifar10", "neuron.v_threshold=0.3")
    net, x = build(cfg).double(), images(cfg, T=1).double()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    y, gradients = step(net, x, layout=cfg.arch.layout, step_mode=step_mode, **RATE)
    net.load_state_dict(state)
    truth, by_bptt = step(net, x, layout=cfg.arch.layout, step_mode=step_mode, **BPTT)
    torch.testing.assert_close(y, truth)
    assert distance(gradients, by_bptt) < 1e-6 and y.abs().sum() > 0


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_run_trains_and_is_scored_at_another_number_of_steps(here: Path, step_mode: str) -> None:
    line = ["trainer=debug", "trainer.batch_size=8", "trainer.eval_batch_size=8", "tracker=none", "T=2"]
    assert main([*line, "arch=sj_maxformer", *TINY["sj_maxformer"], f"step_mode={step_mode}"]) == 0
    (result,) = results()
    assert result["config"]["arch"] == "sj_maxformer"
    assert (result["test_acc_over_t"] is None) == (step_mode == "m")  # in m it takes the time mean itself
    net, cfg = rbp.load(next(Path("runs/single").iterdir()))
    assert rbp.forward(net, torch.rand(2, 1, 8, 8), T=5, layout=cfg.arch.layout).shape == (2, 10)
