"""For all tests: no tracker beside each of the hundreds of runs, a few processes that share two cores, what
is skipped where something is missing, what begins first, and fixtures that tests of several folders use.
"""

import gc
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbp.garbage import spare_old_objects

os.environ.setdefault("WANDB_MODE", "disabled")
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is loaded: its threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
LAST_SLOW = 0.8  # when the last slow test begins, as a part of all
pytest.register_assert_rewrite("tests.support")  # a helper's failed assert tells its values, as a test's does


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Order the tests, and keep those of one cluster in one process."""
    files: dict[Path, float] = {}  # where each begins
    for n, item in enumerate(items):
        files.setdefault(item.path, n / len(items))
    items.sort(key=lambda item: _turn(item, files[item.path]))
    for item in items:
        if is_marked(item, "slurm"):
            item.add_marker(pytest.mark.xdist_group("slurm"))
    yield
    if getattr(config.option, "loadgroup", False):  # xdist has put each test's group behind its name
        lost = [item.nodeid for item in items if is_marked(item, "xdist_group") and "@" not in item.nodeid]
        if lost:
            raise pytest.UsageError(f"pytest-xdist does not know this pytest: the group of {lost[0]} is lost")


def _turn(item: pytest.Item, place: float) -> tuple[bool, float]:
    """When a test begins: those of the cluster first, then by a place from 0 to 1, which is its file's.

    Many of the slow ones wait for processes, the others compute. So the slow ones are spread among the other
    files, in any order but always the same, and none begins so late that it ends alone. Groups, which run in
    one process and take longest, begin at once.
    """
    if is_marked(item, "xdist_group"):
        place = 0.0
    elif is_marked(item, "slow"):
        place = LAST_SLOW * zlib.crc32(item.nodeid.encode()) / 2**32
    return not is_marked(item, "slurm"), place


def pytest_collection_finish() -> None:
    """Let Python's garbage collector pass over what stays: thousands of tests, and torch."""
    gc.collect()
    gc.freeze()
    spare_old_objects()


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
