"""The sweeps of the paper: each cell is checked on small data of the true form, and two a sweep train."""

import functools
from collections.abc import Iterator

import pytest
import torch

from rbp.config import schema
from rbp.config.composition.places import sweep_files
from rbp.sweep.grid.cell import Cell
from rbp.sweep.grid.command_line import read_command_line
from rbp.sweep.launch import main, read_grid
from rbp.sweep.preflight.checks import preflight
from tests.support.datasets import write_cifar10, write_cifar100
from tests.support.event_recordings import write_cifar10_dvs
from tests.support.image_files import write_imagenet
from tests.support.run_folders import results

# In one process: they share the data and the composed cells.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("paper")]

SWEEPS = sorted(name for name in sweep_files() if name.startswith("paper/"))
SHORT = ["trainer.epochs=1", "trainer.limit_batches=1", "trainer.batch_size=2", "trainer.eval_batch_size=4"]
CELLS = {  # how many, counted by hand
    "paper/alignment": 3 * 2 * 3,
    "paper/cifar10": 3 * 3 * 2 * 2 * 3,
    "paper/cifar100": 3 * 3 * 2 * 2 * 3,
    "paper/cifar10_dvs": 2 * 3,
    "paper/cost": 5 * 2 * 2,
    "paper/firing_rates": 2 * 3,
    "paper/imagenet": 2 * 2,
}
TWO = {  # the keys that leave two small cells, one of each gradient mode
    "paper/alignment": ["arch=digits_cnn", "T=2", "seed=0", "trainer.align_every=1"],
    "paper/cifar10": ["arch=resnet18", "T=2", "step_mode=m", "seed=0"],
    "paper/cifar100": ["arch=vgg11", "T=2", "step_mode=s", "seed=0"],
    "paper/cifar10_dvs": ["seed=0"],
    "paper/cost": ["T=1", "step_mode=s"],
    "paper/firing_rates": ["seed=0"],
    "paper/imagenet": ["arch=sew_resnet34", "dataset.size=32", "dataset.short_side=36"],
}


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A working directory with a few images of each data set, where the sweeps look for them."""
    schema.register()
    torch.set_num_threads(1)
    here = tmp_path_factory.mktemp("paper")
    write_cifar10(here / "data", n_per_batch=26)
    write_cifar100(here / "data")
    write_cifar10_dvs(here / "data" / "cifar10_dvs", "folders", n=15, n_events=20)
    write_imagenet(here / "data" / "imagenet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.delenv("RBP_DATA", raising=False)
        yield


@functools.cache
def cells_of(name: str) -> list[Cell]:
    return read_grid(read_command_line([f"sweeps={name}", "trainer.batch_size=16", *classes(name)]))[0]


def classes(name: str) -> list[str]:
    return ["dataset.classes=4", "dataset.workers=0"] if name.endswith("imagenet") else []


def test_every_cell_of_every_sweep_can_be_trained() -> None:
    cells = {name: cells_of(name) for name in SWEEPS}
    ours = {name: len(found) for name, found in cells.items()}
    assert ours == CELLS | {name.replace("/", "/fair/", 1): n for name, n in CELLS.items()}
    preflight([cell for found in cells.values() for cell in found], trials=True)


def test_a_twin_differs_from_its_sweep_by_the_loss_the_headline_and_the_first_weights_alone() -> None:
    keys = ("name", "loss_over_T", "headline", "initial_weights")
    for name in CELLS:
        pairs = zip(cells_of(name), cells_of(name.replace("/", "/fair/", 1)), strict=True)
        for paper, fair in pairs:
            assert [paper.values["trainer"][key] for key in keys] == ["paper", True, "best", "published"]
            alike = paper.values | {"trainer": fair.values["trainer"], "sweep": fair.values["sweep"]}
            if "init" in alike["arch"]:  # a VGG's are the trainer's
                alike["arch"] = alike["arch"] | {"init": fair.values["arch"]["init"]}
            assert alike == fair.values
            trainers = zip(paper.values["trainer"].items(), fair.values["trainer"].values(), strict=True)
            assert {key for (key, value), other in trainers if value != other} == {*keys}


@pytest.mark.parametrize("name", SWEEPS)
def test_two_cells_of_each_train(name: str) -> None:
    keys = [*TWO[name.replace("/fair/", "/")], *classes(name), *SHORT]
    assert main([f"sweeps={name}", *keys, "tracker=none"]) == 0
    found = results(name.replace("/", "_"))
    assert {result["config"]["grad_mode"] for result in found} == {"bptt", "rate"} and len(found) == 2
