"""Find the last line that a job has printed, which says why it died if it never came to train."""

import re
from pathlib import Path

from rbp.files import last_lines

_TAIL = 1 << 14  # bytes read from the end of a job's output
# What Slurm adds after the cause.
_NO_CAUSE = re.compile(
    r"^(srun: error: .*(Exited with exit code|Killed|Terminated)|srun: (Job step|Terminating))"
)


def last_words(jobs: Path, job_id: str) -> str:
    """Return the last line of a job's output that may name a cause; "" if there is none.

    Args:
        jobs: The folder with the output of a sweep's jobs.
        job_id: The id of the Slurm job.
    """
    files = sorted(jobs.glob(f"{job_id}_*log.out"), key=lambda file: file.stat().st_mtime, reverse=True)
    lines = (line for file in files for line in reversed(_lines(file)))
    return next((line for line in lines if line and not _NO_CAUSE.match(line)), "")


def _lines(file: Path) -> list[str]:
    return [line.decode(errors="replace").strip() for line in last_lines(file, _TAIL)]
