"""The command by which a job starts Python, with SIGUSR2 held back until the worker has a handler for it."""

import shlex

# Slurm sends SIGUSR2 before the time limit or when it preempts the job, perhaps while Python still imports:
# without a handler the signal kills the process. env can block it from coreutils 8.31 (2019) on; then it is
# delivered as soon as there is a handler. An older env or busybox's (RHEL 8, CentOS 7) cannot: the signal is
# ignored until then, and if one is lost, the job ends when Slurm ends it, without having been told.
_HOLD_BACK = (
    "if env --block-signal=USR2 true 2>/dev/null; "
    'then exec env --block-signal=USR2 "$@"; '
    "else trap '' USR2; exec \"$@\"; fi"
)


def start_command(python: str) -> str:
    """Return the shell command that starts Python in a job; arguments for Python may follow.

    Args:
        python: The command of the interpreter, such as its quoted path or `apptainer exec image.sif python`.
    """
    return f"sh -c {shlex.quote(_HOLD_BACK)} sh {python}"
