"""sweeps/methods: each method has the learning rate that results/methods says was chosen for it."""

import re
from pathlib import Path

from rbp.config import schema
from rbp.config.composition.places import ROOT
from rbp.sweep.grid.sweepfile import load_sweep


def chosen() -> dict[tuple[str, ...], float]:
    """Return the rate whose accuracy has a star, by step mode, gradient mode and loss."""
    head, *lines = (ROOT / "results/methods/learning_rates.txt").read_text().splitlines()
    tried = [float(value) for value in re.findall(r"optimizer\.lr=(\S+)", head)]
    found: dict[tuple[str, ...], float] = {}
    for line in lines:
        step_mode, grad_mode, loss, *accuracies = re.split(r"\s{2,}", line.strip().replace("* ", "*  "))[:-1]
        star = [accuracy.endswith("*") for accuracy in accuracies]
        assert len(accuracies) == len(tried) and sum(star) == 1
        found[step_mode, grad_mode, loss] = tried[star.index(True)]
    return found


def test_each_method_has_the_learning_rate_that_was_chosen_for_it(here: Path) -> None:
    schema.register()
    pairs = load_sweep("methods").pairs[1]
    names = [
        mode if steps is None else f"{mode} backprop_steps={steps}"
        for mode, steps in zip(pairs["grad_mode"], pairs["grad_mode.backprop_steps"], strict=True)
    ]
    methods = zip(pairs["step_mode"], names, pairs["loss"], strict=True)
    assert dict(zip(methods, pairs["optimizer.lr"], strict=True)) == chosen()
