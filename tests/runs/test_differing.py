"""Runs are told apart by every key in which they differ, and by nothing else."""

from typing import Any

import pytest

from rbp.runs.differing import labels
from rbp.sweep.grid.compose import compose_grid


def composed(*overrides: str, pairs: list[dict[str, Any]] | None = None) -> list[dict[str, str]]:
    return labels([cell.values for cell in compose_grid(list(overrides), pairs or [])])


@pytest.mark.parametrize(
    ("overrides", "last"),
    [
        (["T=2,4", "seed=0,1"], {"T": "4", "seed": "1"}),
        (["grad_mode=rate,bptt", "step_mode=m,s"], {"grad_mode": "bptt", "step_mode": "s"}),
        (["neuron=lif,plif", "trainer.epochs=2,3"], {"neuron": "plif", "trainer.epochs": "3"}),
        (["dataset=digits,fashion_mnist"], {"dataset": "fashion_mnist"}),  # recipe and means follow from it
        (
            ["dataset=digits,fashion_mnist", "trainer.epochs=7,8"],
            {"dataset": "fashion_mnist", "trainer.epochs": "8"},
        ),
        (
            ["optimizer=sgd,adamw"],
            {"optimizer": "adamw", "optimizer.lr": "0.001", "optimizer.weight_decay": "0.01"},
        ),
        (["seed=0,1", "trainer.device=cpu", "tracker=none"], {"seed": "1"}),
        (["seed=0"], {}),
    ],
)
def test_a_run_is_labelled_by_what_differs(overrides: list[str], last: dict[str, str]) -> None:
    assert composed(*overrides)[-1] == last


def test_keys_that_change_together_are_all_shown() -> None:
    pairs = [{"optimizer.lr": [0.1, 0.05], "trainer.batch_size": [32, 16]}]
    assert composed("seed=0", pairs=pairs) == [
        {"optimizer.lr": "0.1", "trainer.batch_size": "32"},
        {"optimizer.lr": "0.05", "trainer.batch_size": "16"},
    ]


def test_a_key_that_only_some_runs_of_an_option_have_is_a_difference() -> None:
    first, second = (cell.values for cell in compose_grid(["seed=0,1"]))
    second["loss"] = second["loss"] | {"gamma": 2}
    assert labels([first, second]) == [{"seed": "0"}, {"loss.gamma": "2", "seed": "1"}]
    second["arch"] = second["arch"] | {"_target_": "mylab.nets.net"}
    assert labels([first, second])[1] == {"loss.gamma": "2", "arch._target_": "mylab.nets.net", "seed": "1"}


def test_no_two_runs_of_a_grid_have_one_label() -> None:
    axes = ["arch=vgg11,resnet18", "T=2,4", "neuron=if,lif,plif", "grad_mode.segments=1,2", "seed=0,1"]
    found = composed("dataset=cifar10", *axes)
    assert len({str(label) for label in found}) == len(found) == 48


def test_what_decides_no_result_is_no_difference() -> None:
    first, second = (cell.values for cell in compose_grid(["seed=0,1"]))
    second |= {"seed": 0, "runs_dir": "elsewhere", "trainer": second["trainer"] | {"device": "cuda"}}
    assert labels([first, second]) == [{}, {}]
    second["dataset"] = second["dataset"] | {"root": "elsewhere"}
    assert labels([first, second]) == [{}, {}]


def test_one_and_one_point_zero_are_the_same() -> None:
    first, second = (cell.values for cell in compose_grid(["seed=0,1"]))
    first |= {"optimizer": first["optimizer"] | {"lr": 1}}
    second |= {"optimizer": second["optimizer"] | {"lr": 1.0}}
    assert labels([first, second]) == [{"seed": "0"}, {"seed": "1"}]


def test_a_key_that_one_run_lacks_tells_runs_of_one_option_apart() -> None:
    """`+arch.width=8` beside a run without it; that another neuron has no tau says nothing."""
    net: dict[str, Any] = {"name": "net", "_target_": "lab.net"}
    assert labels([{"arch": net}, {"arch": {**net, "width": 8}}]) == [{}, {"arch.width": "8"}]
    neurons: list[dict[str, Any]] = [{"neuron": {"name": "lif", "tau": 2.0}}, {"neuron": {"name": "if"}}]
    assert labels(neurons) == [{"neuron": "lif"}, {"neuron": "if"}]
