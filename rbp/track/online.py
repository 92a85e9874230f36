"""The process that follows a run folder online: python -m rbp.track.online RUNFOLDER.

The follower that talks to wandb's service is a process of its own, with a wandb of its own. Whatever becomes
of it (it is refused, it hangs, it dies), what it has not written is then written offline, for `rbp sync`.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rbp.runs.status import current_status
from rbp.track.follow import GIVE_UP_AFTER, LOOK_EVERY, begin, follow, give_up_some_day, is_over
from rbp.track.segments import reaches_end, segments, steps
from rbp.track.service_log import last_words
from rbp.track.start import KEPT_OFFLINE, LOG, last_line

FLUSH_SECONDS = 2.0  # that wandb's process has for writing to the disk


def follow_online(folder: Path) -> int:
    """Feed wandb's service until the run is over, or else wandb's offline files; return the exit code."""
    earlier = segments(folder / "wandb")
    code = _supervise(_start(folder), folder)
    if code == 0:
        return 0
    begun = [file for file in segments(folder / "wandb") if file not in earlier]
    reason = _reason(folder, begun, ended=code is not None)
    if not _has_all(folder, code):
        for file in begun:
            if not steps(file):
                file.unlink()  # a start that failed: there is nothing to send; its logs stay
        give_up_some_day()
        if offline := follow(folder, "offline"):
            return offline
    print(
        f"wandb's service has not got everything ({reason}); kept offline, for rbp sync: "
        f"rbp sync {shlex.quote(str(folder))}",
        file=sys.stderr,
    )
    return KEPT_OFFLINE


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rbp.track.follow", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"RBP_MODE": "online"})


def _supervise(child: subprocess.Popen[bytes], folder: Path) -> int | None:
    """Wait for the follower, which is told when the run is over; return its exit code.

    After the run's end it has some seconds, and some minutes if all steps are on the disk anyway. Then it is
    killed, with its wandb, and None is returned.
    """
    assert child.stdin is not None
    while child.poll() is None and not is_over(LOOK_EVERY):
        pass
    if child.poll() is not None:
        return child.returncode
    child.stdin.close()
    for seconds in (_grace(folder), GIVE_UP_AFTER):
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            if not reaches_end(folder):
                break
    child.kill()  # wandb's process ends with the one that started it, and first writes what it has in memory
    child.wait()
    deadline = time.monotonic() + FLUSH_SECONDS
    while not reaches_end(folder) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY / 10)
    return None


def _grace(folder: Path) -> float:
    """Return how many seconds the service may take after the end of the run."""
    usual, preempted = map(float, os.environ["RBP_GRACE"].split())
    return preempted if current_status(folder).state == "preempted" else usual


def _has_all(folder: Path, code: int | None) -> bool:
    """Whether the follower has written the whole run, its end included, though the service has not got it."""
    return code == KEPT_OFFLINE or (code is None and reaches_end(folder))


def _reason(folder: Path, begun: list[Path], ended: bool) -> str:
    """Return why the service has not got everything, in its own words if there are any."""
    for file in reversed(begun):
        if (words := last_words(file.parent / "logs" / "debug-internal.log")) is not None:
            return words.text
    return last_line(folder / LOG) if ended else "no answer"


if __name__ == "__main__":
    begin()
    sys.exit(follow_online(Path(sys.argv[1])))
