"""How a job that Slurm asks to stop has itself queued again."""

import os
import subprocess
import sys
from pathlib import Path

# As Slurm's: its signals reach every process of a job, and more than one may come.
SCONTROL = """#!/bin/sh
kill -USR2 0
sleep 0.1
echo "$@" > asked
"""
JOB = """
import os, signal, subprocess, sys
from pathlib import Path
from rbp.sweep.launchers.worker import Worker, listen

def requeue(number, frame):  # submitit's handler, in short
    subprocess.check_call(["scontrol", "requeue", "7"])
    sys.exit(0)

interruption = listen()
os.kill(os.getpid(), signal.SIGUSR2)
Worker([], 0.0)._stop(interruption, requeue, Path("run"))
"""


def test_a_signal_that_comes_again_does_not_keep_a_job_from_being_queued_again(tmp_path: Path) -> None:
    (tmp_path / "scontrol").write_text(SCONTROL)
    (tmp_path / "scontrol").chmod(0o755)
    ended = subprocess.run(
        [sys.executable, "-c", JOB],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        start_new_session=True,  # kill 0 is for this job alone
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
