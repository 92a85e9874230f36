"""For all tests: no tracker beside each of the hundreds of runs, a few processes that share two cores, what
is skipped where something is missing, what begins first, and fixtures that tests of several folders use.
"""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("WANDB_MODE", "disabled")
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is loaded: its threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("tests.support")  # a helper's failed assert tells its values, as a test's does


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Order the tests, and keep those of one cluster in one process."""
    items.sort(key=_turn)
    for item in items:
        if is_marked(item, "slurm"):
            item.add_marker(pytest.mark.xdist_group("slurm"))
    yield
    if getattr(config.option, "loadgroup", False):  # xdist has put each test's group behind its name
        lost = [item.nodeid for item in items if is_marked(item, "xdist_group") and "@" not in item.nodeid]
        if lost:
            raise pytest.UsageError(f"pytest-xdist does not know this pytest: the group of {lost[0]} is lost")


def _turn(item: pytest.Item) -> tuple[bool, bool, int]:
    """When a test begins: those that take long first, so that none ends alone.

    Slow ones in any order but always the same: some wait, others compute, and those of a file do alike.
    """
    slow = is_marked(item, "slow")
    return not is_marked(item, "slurm"), not slow, zlib.crc32(item.nodeid.encode()) if slow else 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a browser or a GPU where there is none. (Slurm: tests/slurm/conftest.py.)"""
    if is_marked(item, "browser") and "RBP_REQUIRE_BROWSER" not in os.environ:
        from tests.support import browser

        if lacks := browser.missing():
            pytest.skip(f"not here: {', '.join(lacks)}")
    if is_marked(item, "gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device here")


def is_marked(item: pytest.Item, mark: str) -> bool:
    return item.get_closest_marker(mark) is not None


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
