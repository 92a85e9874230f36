"""For all tests: no tracker beside each of the hundreds of runs, and two processes that share two cores."""

import os

import pytest

os.environ.setdefault("WANDB_MODE", "disabled")
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is loaded: its threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What takes long begins first, so that it does not end alone.
FIRST = ("tests/slurm/", "the_quickstart_reaches_97_percent", "time_carries_information")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and keep those of one cluster in one process."""
    items.sort(key=lambda item: next((n for n, part in enumerate(FIRST) if part in item.nodeid), len(FIRST)))
    for item in items:
        if item.nodeid.startswith("tests/slurm/"):
            item.add_marker(pytest.mark.xdist_group("slurm"))
