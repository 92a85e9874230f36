"""The cluster that all tests of a session share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing
from tests.slurm.project import Project


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real Slurm cluster of four nodes; the test is skipped without Slurm, or fails if it is required."""
    if missing():
        reason = f"no Slurm on this machine ({', '.join(missing())}): tests/slurm/install.sh installs it"
        (pytest.fail if os.environ.get("RBP_REQUIRE_SLURM") == "1" else pytest.skip)(reason)
    with Cluster() as running:
        yield running


@pytest.fixture
def project(cluster: Cluster, tmp_path: Path) -> Project:
    """A clone of the project, whose sweeps run on the cluster."""
    return Project(tmp_path, cluster)
