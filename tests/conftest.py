"""For all tests: no tracker beside each of the hundreds of runs, two processes that share two cores, what is
skipped where something is missing, what begins first, and fixtures that tests of several folders use.
"""

import os
from pathlib import Path

import pytest

os.environ.setdefault("WANDB_MODE", "disabled")
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is loaded: its threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("tests.support")  # a helper's failed assert tells its values, as a test's does

# What takes long begins first, so that it does not end alone.
FIRST = ("tests/slurm/", "the_quickstart_reaches_97_percent", "time_carries_information")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and keep those of one cluster in one process."""
    items.sort(key=lambda item: next((n for n, part in enumerate(FIRST) if part in item.nodeid), len(FIRST)))
    for item in items:
        if item.nodeid.startswith("tests/slurm/"):
            item.add_marker(pytest.mark.xdist_group("slurm"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a browser where there is none."""
    if item.get_closest_marker("browser") and "RBP_REQUIRE_BROWSER" not in os.environ:
        from tests.support import browser

        if lacks := browser.missing():
            pytest.skip(f"not here: {', '.join(lacks)}")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, where data sets are looked for too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RBP_DATA", raising=False)
    return tmp_path


@pytest.fixture
def one_thread() -> None:
    """torch on one thread: two test processes share two cores, and bits depend on the number of threads."""
    import torch

    torch.set_num_threads(1)
