"""Submit jobs to a Slurm cluster with submitit, as one job array per submission, and cancel them.

A submission larger than the cluster's limit is split into several arrays.
"""

import contextlib
import io
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbp.config.launchers import SlurmSettings
from rbp.environment import outside_of_jobs
from rbp.errors import ConfigError
from rbp.sweep.slurm.job_start import start_command
from rbp.sweep.slurm.refusals import explain_refusal

_OWN_KEYS = {
    **{"job-name": "sweep.name", "partition": "partition", "account": "account", "qos": "qos"},
    **{"constraint": "constraint", "time": "time", "gpus-per-node": "gpus", "gres": "gpus"},
    **{"cpus-per-task": "cpus", "mem": "memory", "nodes": "nodes", "ntasks-per-node": "tasks"},
    **{"ntasks": "tasks", "array": "parallel", "signal": "signal_delay"},
}
_NEEDED = (
    *("output", "error", "open-mode", "requeue", "no-requeue"),
    *("wrap", "parsable", "test-only", "wait", "export", "chdir"),
)


class Refused(Exception):
    """Slurm does not take the jobs; the message says why and what to change."""


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option of sbatch that would replace what the launcher itself sets."""
    for name in options:
        option = str(name).replace("_", "-").lstrip("-")
        if (key := _OWN_KEYS.get(option)) is not None:
            full = key if "." in key else f"hydra.launcher.{key}"
            raise ConfigError(f"hydra.launcher.sbatch.{name}: is set by {full}; use that key")
        if option in _NEEDED:
            raise ConfigError(
                f"hydra.launcher.sbatch.{name}: the launcher needs this option of sbatch itself; leave it out"
            )


def check_settings(settings: SlurmSettings, option: str) -> None:
    """Raise ConfigError if settings contradict each other or this machine has no Slurm.

    Args:
        settings: The launcher's settings.
        option: The option of hydra/launcher, for messages.
    """
    check_options(settings.sbatch)
    if settings.signal_delay >= 60 * settings.time:
        raise ConfigError(
            f"hydra.launcher.signal_delay={settings.signal_delay}: must be less than the "
            f"{60 * settings.time} seconds of hydra.launcher.time"
        )
    for command in ("sbatch", "srun"):
        if not shutil.which(command):
            raise ConfigError(
                f"hydra/launcher={option}: there is no {command} on this machine; submit on a login node of "
                "the cluster, or choose hydra/launcher=local or inline"
            )


def submit(
    settings: SlurmSettings, works: Sequence[Callable[[], None]], jobs: Path, name: str, code: list[Path]
) -> list[str]:
    """Submit one job for each of these functions.

    Args:
        settings: The launcher's settings.
        works: What the jobs do; each has a method `checkpoint`, as submitit wants it.
        jobs: The folder for submitit's files.
        name: The name of the sweep, from which the job name is made.
        code: The folders with copies of the code, for the start of the import path.

    Returns:
        The id of each job.

    Raises:
        Refused: Slurm refuses an array. Arrays already submitted are cancelled.
    """
    import submitit

    ids: list[str] = []
    python = start_command(settings.python or shlex.quote(sys.executable))
    try:
        # Slurm's message is also in the exception.
        with outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
            executor = submitit.SlurmExecutor(jobs, max_num_timeout=settings.max_timeouts, python=python)
            executor.update_parameters(**_parameters(settings, name, code))
            largest = _largest_array()
            for start in range(0, len(works), largest):
                ids += [job.job_id for job in executor.submit_array(works[start : start + largest])]
    except submitit.core.utils.FailedJobError as error:
        cancel(ids)
        raise Refused(explain_refusal(str(error), settings)) from error
    except submitit.core.utils.FailedSubmissionError as error:
        answer = " ".join(str(error).split())
        raise Refused(
            f"sbatch answered something other than the id of a job: {answer}; see whether squeue --me lists "
            "jobs that were submitted all the same, and cancel them"
        ) from error
    return ids


def _parameters(settings: SlurmSettings, name: str, code: list[Path]) -> dict[str, Any]:
    """Return the parameters for submitit's executor."""
    # Without PYTHONSAFEPATH the working directory would precede the copy of the code on the import path.
    copies = shlex.quote(os.pathsep.join(map(str, code)))
    path = f"export PYTHONSAFEPATH=1 PYTHONPATH={copies}${{PYTHONPATH:+:$PYTHONPATH}}"
    wanted = {
        "job_name": f"rbp-{name}",
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "time": settings.time,
        "gpus_per_node": settings.gpus or None,
        "cpus_per_task": settings.cpus,
        "mem": None if settings.memory is None else f"{math.ceil(1024 * settings.memory)}M",
        "nodes": settings.nodes,
        "ntasks_per_node": settings.tasks,
        "array_parallelism": settings.parallel,
        "signal_delay_s": settings.signal_delay,
        # End the whole job if one rank dies, since the other ranks would wait for it forever.
        "setup": [*settings.setup, path, "export SLURM_KILL_BAD_EXIT=1"],
        "stderr_to_stdout": True,
        "additional_parameters": {str(k).replace("_", "-"): v for k, v in settings.sbatch.items()} or None,
    }
    return {key: value for key, value in wanted.items() if value is not None}


def _largest_array() -> int:
    """Return the maximum size of a job array on this cluster."""
    try:
        answer = subprocess.run(
            ["scontrol", "show", "config"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=20,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        answer = ""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer, re.MULTILINE)
    return int(found[1]) if found and int(found[1]) > 0 else 1001  # Slurm's default


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs, queued or running.

    Raises:
        ConfigError: This machine has no scancel, or it failed; the message quotes its error.
    """
    if not job_ids:
        return
    if not shutil.which("scancel"):
        raise ConfigError(f"job {job_ids[0]}: there is no scancel on this machine; cancel it on the cluster")
    for start in range(0, len(job_ids), 500):
        command = ["scancel", *job_ids[start : start + 500]]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            raise ConfigError(f"scancel: {done.stderr.strip()}")
