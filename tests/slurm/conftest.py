"""The cluster that all tests of a session share."""

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real Slurm cluster of four nodes; the test is skipped without Slurm, or fails if it is required."""
    if missing():
        reason = f"no Slurm on this machine ({', '.join(missing())}): tests/slurm/install.sh installs it"
        (pytest.fail if os.environ.get("RBP_REQUIRE_SLURM") == "1" else pytest.skip)(reason)
    with Cluster() as running:
        yield running
