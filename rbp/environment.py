"""Submit and start processes without the variables of the job or the tool that this process runs in."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# What torchrun and its like tell their processes. Whoever inherits it waits for ranks that nobody started.
_OF_RANKS = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE"),
    *("ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that trains alone."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _OF_RANKS and not name.startswith("TORCHELASTIC_")
    }


def forget_ranks() -> None:
    """Make this process one that trains alone."""
    for name in os.environ.keys() - without_ranks(os.environ).keys():
        del os.environ[name]


@contextmanager
def outside_of_jobs() -> Iterator[None]:
    """Hide the job that this process runs in, such as an interactive one, inside the block.

    sbatch hands its environment on: srun in the new job would take SLURM_CPU_BIND and its like for its own.
    What says where Slurm is (SLURM_CONF) and what the user sets for sbatch (SBATCH_ACCOUNT) stays.
    """
    from submitit.helpers import clean_env

    before = dict(os.environ)
    kept = {name: before[name] for name in before if name == "SLURM_CONF" or name.startswith("SBATCH_")}
    with clean_env():
        forget_ranks()
        os.environ.update(kept)
        try:
            yield
        finally:
            os.environ.update(before)
