"""`rbp sync`: upload the wandb data of finished runs, once each, and say what has become of each.

metrics.jsonl is the truth: steps that wandb's files lack are written first, and a run counts as uploaded only
once the service has accepted all its steps.
"""

import argparse
import math
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from rbp.errors import UserError
from rbp.locks import locked
from rbp.runs.folder import find_runs
from rbp.runs.result import read_result
from rbp.runs.status import current_status
from rbp.terminal.output import say
from rbp.track.follow import LOCK
from rbp.track.identity import take_new_id, wandb_id
from rbp.track.reader import metrics_after
from rbp.track.segments import last_step, missing_steps, upload_marker, written
from rbp.track.service_log import Words
from rbp.track.start import LOG, environment, last_line
from rbp.track.upload import all_marked, is_half_sent, is_uploaded, note_uploaded, upload

FINISHED = ("done", "failed", "cancelled")
AT_ONCE = 8  # runs that are sent side by side
LIMIT = 120.0  # seconds for a run's upload
WRITE_SECONDS = 300.0  # for writing the steps that wandb's files lack


class Counts(NamedTuple):
    """Number of runs by outcome of the sync.

    Attributes:
        uploaded: Uploaded now.
        before: Uploaded before.
        waiting: Not finished, left for later.
        busy: Being followed or uploaded by another process.
        duplicates: Skipped, since another folder with the same identity is uploaded instead.
        failed: Not uploaded, or not all of it.
    """

    uploaded: int = 0
    before: int = 0
    waiting: int = 0
    busy: int = 0
    duplicates: int = 0
    failed: int = 0


class Outcome(NamedTuple):
    """What has become of a run: which of `Counts` it is, and the words for it."""

    kind: str
    text: str


def sync(paths: list[Path], limit: float = LIMIT, new_id: bool = False) -> Counts:
    """Upload what the service does not have of the runs, print a line for each, and count them.

    A segment that an online run or another sync left half sent is sent again as a whole; the service keeps
    one of two equal steps. A run that may still continue is left for later, so that its steps arrive in
    order.

    Args:
        paths: Sweep or run folders.
        limit: Seconds that the upload of one run may take.
        new_id: Whether a run that was deleted on the server is sent under another id.
    """
    every = [folder for folder in find_runs(paths) if (folder / "wandb").is_dir()]
    chosen = _one_each(every)
    found = dict.fromkeys(Counts._fields, 0)
    for folder in every:
        if folder not in chosen:
            _tell(found, folder, Outcome("duplicates", "left out: the same run in another sweep is sent"))
    for folder, outcome in _sync_all(chosen, Sender(limit, new_id)):
        _tell(found, folder, outcome)
    return Counts(**found)


def _tell(found: dict[str, int], folder: Path, outcome: Outcome) -> None:
    found[outcome.kind] += 1
    say(f"{folder.name}: {outcome.text}")


def _one_each(folders: list[Path]) -> list[Path]:
    """Deduplicate by identity, which is one run in wandb.

    A folder that was uploaded before is preferred, then one that is done, then the first.
    """
    best: dict[str, Path] = {}
    for folder in folders:
        if folder.name not in best or _worth(folder) > _worth(best[folder.name]):
            best[folder.name] = folder
    return list(best.values())


def _worth(folder: Path) -> tuple[bool, bool]:
    """Return the sort key by which `_one_each` prefers a folder: (uploaded before, done)."""
    return any(upload_marker(file).exists() for file in written(folder)), read_result(folder) is not None


def _sync_all(folders: list[Path], sender: "Sender") -> Iterator[tuple[Path, Outcome]]:
    """Yield each run with its outcome, as they end."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        todo = {pool.submit(_sync_safely, folder, sender): folder for folder in folders}
        try:
            for future in as_completed(todo):
                yield todo[future], future.result()
        except BaseException:  # Ctrl-C reaches wandb's processes, too
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _sync_safely(folder: Path, sender: "Sender") -> Outcome:
    """Do `_sync_one`; a folder that cannot be read or written does not end the sync of the others."""
    try:
        return _sync_one(folder, sender)
    except (OSError, UserError) as error:
        return Outcome("failed", f"failed: {error}")


def _sync_one(folder: Path, sender: "Sender") -> Outcome:
    """Bring one run to the service, with its lock held, unless there is a reason not to."""
    with locked(folder / LOCK) as held:
        if (reason := _look(folder, held)) is not None:
            return reason
        missing = missing_steps(folder)
        if missing and missing[0] <= last_step(folder / "wandb"):
            _set_aside(folder)  # wandb takes steps in order only: all are written again
    if missing or not written(folder):
        _write_missing(folder)
    with locked(folder / LOCK) as held:  # the process that has just written held it for itself
        if (reason := _look(folder, held)) is not None:
            return reason
        if (missing and missing_steps(folder)) or not written(folder):
            why = f"{last_line(folder / LOG)} ({folder / LOG})"
            return Outcome("failed", f"failed: wandb's files lack steps of metrics.jsonl: {why}")
        return sender.send(folder)


def _look(folder: Path, held: bool) -> Outcome | None:
    """Return the outcome of a run of which nothing is to be sent now, else None."""
    if not held:
        return Outcome("busy", "in another process's hands: left to it")
    if is_uploaded(folder):
        return Outcome("before", "was uploaded before")
    if all_marked(folder) and not is_half_sent(folder) and not missing_steps(folder):
        note_uploaded(folder)  # an online run, or an earlier version of rbp
        return Outcome("before", "was uploaded before")
    if (state := current_status(folder).state) not in FINISHED:
        return Outcome("waiting", f"not finished ({state}): left for later")
    return None


def _set_aside(folder: Path) -> None:
    """Rename the run's folder `wandb`, whose files lack steps between others."""
    number = 1 + sum(1 for _ in folder.glob("wandb-incomplete-*"))
    (folder / "wandb").rename(folder / f"wandb-incomplete-{number}")


def _write_missing(folder: Path) -> None:
    """Follow the folder once more, offline: the steps after the last one in wandb's files are written."""
    command = [sys.executable, "-m", "rbp.track.follow", str(folder)]
    env = environment("offline")
    with (folder / LOG).open("ab") as log:
        try:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, timeout=WRITE_SECONDS
            )
        except subprocess.TimeoutExpired:
            log.write(f"given up after {WRITE_SECONDS:.0f} s\n".encode())


class Sender:
    """Sends runs; it stops trying once the service has never answered.

    Args:
        limit: Seconds for each run.
        new_id: Whether a run that was deleted on the server is sent under another id.
    """

    def __init__(self, limit: float, new_id: bool) -> None:
        self.limit, self.new_id = limit, new_id
        self.answered, self.silent = False, False

    def send(self, folder: Path) -> Outcome:
        """Send a run's segments that the service does not have."""
        if self.silent and not self.answered:
            return Outcome("failed", "failed: not tried, as the service does not answer")
        words = upload(folder, self.limit)
        if words is not None and words.deleted and self.new_id:
            take_new_id(folder)
            for file in written(folder):  # under the new id there is nothing yet
                upload_marker(file).unlink(missing_ok=True)
            words = upload(folder, self.limit)
        if words is not None:
            self._note(words)
            return Outcome("failed", f"failed: {self._reason(folder, words)}")
        self.answered = True
        note_uploaded(folder)
        return Outcome("uploaded", f"uploaded {len(metrics_after(-1, folder))} steps{_under(folder)}")

    def _note(self, words: Words) -> None:
        silent = words.late and words.status is None
        self.silent, self.answered = self.silent or silent, self.answered or not silent

    def _reason(self, folder: Path, words: Words) -> str:
        """Return the complaint and what to do about it."""
        if words.deleted:
            return f"{words.text}; under another id: rbp sync --new-id {shlex.quote(str(folder))}"
        if words.late:
            return f"{words.text}; given up after {self.limit:g} s (--timeout)"
        return words.text


def _under(folder: Path) -> str:
    """Return under which id a run is in wandb, if it is not the one in its folder's name."""
    return "" if folder.name.endswith(wandb_id(folder)) else f" under the id {wandb_id(folder)}"


def _seconds(text: str) -> float:
    """Return a limit of time from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: a number of seconds above 0 is allowed")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp sync` to a parser."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="sweeps' or runs' folders")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=LIMIT,
        metavar="SECONDS",
        help=f"limit for the upload of one run (default: {LIMIT:g})",
    )
    parser.add_argument(
        "--new-id", action="store_true", help="send runs that were deleted on the server under another id"
    )


def command(args: argparse.Namespace) -> int:
    """Run `rbp sync`: upload, print a line for each run and a summary; 1 if something was not uploaded."""
    found = sync(args.paths, args.timeout, args.new_id)
    parts = [f"{found.uploaded} runs uploaded", f"{found.before} were before"]
    parts += [f"{found.waiting} not finished: left for later"] if found.waiting else []
    parts += [f"{found.busy} in another process's hands: left to it"] if found.busy else []
    same = f"{found.duplicates} left out: the same run in another sweep is sent"
    parts += [same] if found.duplicates else []
    parts += [f"{found.failed} failed"] if found.failed else []
    say(", ".join(parts))
    return 1 if found.failed else 0
