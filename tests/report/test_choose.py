"""`rbp choose`: the value with the best mean on held-out images, worked out by hand."""

from pathlib import Path
from typing import Any

import pytest

from rbp.cli import main
from rbp.errors import UserError
from rbp.report.choose import Choice, choose
from rbp.report.read import read_runs
from tests.support.run_folders import write_run

RATES = (0.05, 0.1, 0.2)
# Held-out accuracy by gradient mode, data set and learning rate.
FOUND: dict[str, dict[str, tuple[float, ...]]] = {
    "bptt": {"digits": (0.90, 0.80, 0.20), "digits_dvs": (0.10, 0.60, 0.50)},  # 0.50, 0.70, 0.35
    "rate": {"digits": (0.70, 0.80, 0.90), "digits_dvs": (0.50, 0.60, 0.50)},  # 0.60, 0.70, 0.70
}
ARCH = {"digits": "digits_cnn", "digits_dvs": "dvs_cnn"}


def grid(folder: Path, **more: Any) -> None:
    for mode, sets in FOUND.items():
        for dataset, accuracies in sets.items():
            for rate, accuracy in zip(RATES, accuracies, strict=True):
                of = {"grad_mode": mode, "dataset__name": dataset, "arch__name": ARCH[dataset]} | more
                val: dict[str, Any] = {"val_acc": accuracy}  # the test accuracy says the opposite
                write_run(folder, 1 - accuracy, more=val, optimizer__lr=rate, **of)


def chosen(folder: Path, key: str = "optimizer.lr", over: tuple[str, ...] = ("dataset",)) -> list[Choice]:
    return choose(read_runs([folder])[0], key, over)


def test_each_method_has_the_value_with_the_best_mean_over_the_data_sets(tmp_path: Path) -> None:
    grid(tmp_path)
    bptt, rate = chosen(tmp_path)
    assert bptt.method == {"grad_mode": "bptt"} and rate.method == {
        "grad_mode": "rate"
    }  # no arch, no batch size
    assert bptt.means == {"0.05": pytest.approx(0.5), "0.1": pytest.approx(0.7), "0.2": pytest.approx(0.35)}
    assert bptt.best == "0.1" and bptt.n == 2
    assert rate.best == "0.1"  # of equal ones the smaller


def test_without_over_each_data_set_has_its_own(tmp_path: Path) -> None:
    grid(tmp_path)
    best = {(of.method["grad_mode"], of.method["dataset"]): of.best for of in chosen(tmp_path, over=())}
    assert best == {
        ("bptt", "digits"): "0.05",
        ("bptt", "digits_dvs"): "0.1",
        ("rate", "digits"): "0.2",
        ("rate", "digits_dvs"): "0.1",
    }


def test_seeds_are_pooled(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        grid(tmp_path, seed=seed)
    assert [of.n for of in chosen(tmp_path)] == [6, 6]


def test_the_command_marks_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid(tmp_path)
    assert main(["choose", str(tmp_path), "optimizer.lr", "--over", "dataset"]) == 0
    head, bptt, rate = capsys.readouterr().out.splitlines()
    assert head.split() == ["grad_mode", "optimizer.lr=0.05", "optimizer.lr=0.1", "optimizer.lr=0.2", "n"]
    assert bptt.split() == ["bptt", "50.00%", "70.00%*", "35.00%", "2"]
    assert rate.split() == ["rate", "60.00%", "70.00%*", "70.00%", "2"]


def test_options_can_be_chosen_too(tmp_path: Path) -> None:
    for neuron, accuracy in (("lif", 0.5), ("plif", 0.6)):
        write_run(tmp_path, 0.9, more={"val_acc": accuracy}, neuron__name=neuron)
    (only,) = choose(read_runs([tmp_path])[0], "neuron")
    assert (only.best, only.method, only.n) == ("plif", {}, 1)


def test_values_that_were_not_tried_on_the_same_cells_are_refused(tmp_path: Path) -> None:
    grid(tmp_path)
    write_run(tmp_path, 0.9, more={"val_acc": 1.0}, grad_mode="rate", seed=1, optimizer__lr=0.2)
    with pytest.raises(UserError, match=r"not tried on the same cells .*0\.05: 2, 0\.1: 2, 0\.2: 3"):
        chosen(tmp_path)


@pytest.mark.parametrize(
    ("key", "over", "words"),
    [
        ("optimizer.momentum", (), "KEY optimizer.momentum: does not differ"),
        ("seed", (), "KEY seed: is pooled"),
        ("optimizer.lr", ("T",), "--over T: does not differ .* dataset, arch"),
        ("optimizer.lr", ("optimizer.lr",), "--over optimizer.lr: is the key to choose"),
    ],
)
def test_keys_that_do_not_differ_are_refused(
    key: str, over: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    grid(tmp_path)
    with pytest.raises(UserError, match=words):
        chosen(tmp_path, key, over)


def test_unfinished_runs_and_runs_without_held_out_images_are_refused(tmp_path: Path) -> None:
    grid(tmp_path / "a")
    write_run(tmp_path / "a", None, state="running", seed=5)
    with pytest.raises(UserError, match="running; 1 of 13 are not done"):
        chosen(tmp_path / "a")
    grid(tmp_path / "b")
    write_run(tmp_path / "b", 0.9, seed=5)
    with pytest.raises(UserError, match=r"test images must not choose: train with dataset.val_split"):
        chosen(tmp_path / "b")
