"""The config as a tree: every value of the groups, in lines that fit."""

import io

from rich.console import Console

from rbp.sweep.grid.config_tree import print_tree, tree
from tests.support.configs import leaves, make


def test_every_group_is_a_line_with_its_option_and_its_values() -> None:
    cfg = make("T=2", "neuron=plif", "optimizer.lr=0.05", "dataset.val_split=0.1")
    lines = tree(cfg)
    assert lines[0].split() == ["config", "T=2", "step_mode=m", "grad_mode=rate", "seed=0"]
    text = "\n".join(lines)
    for part in ("├─ neuron=plif", "lr=0.05", "val_split=0.1", "augment(crop=0 ", "└─ "):
        assert part in text
    shown = {key for key in leaves(cfg.trainer) if key != "name"}
    assert all(f" {key}=" in text for key in shown)


def test_lines_fit_a_terminal_and_are_plain_in_a_file() -> None:
    assert all(len(line) <= 60 for line in tree(make(), 60))
    stream = io.StringIO()
    print_tree(make(), Console(file=stream, highlight=False))
    assert all(char.isprintable() or char == "\n" for char in stream.getvalue())
