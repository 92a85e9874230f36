"""Uploading one run's segments with `wandb sync` within a limit of time, and whether all was accepted."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rbp.files import read_json, write_json
from rbp.track.identity import default_id, wandb_id
from rbp.track.reader import metrics_after
from rbp.track.segments import upload_marker, written
from rbp.track.service_log import Words, last_words

NOTE = "uploaded.json"  # in the run's folder `wandb`
SENDING = "sending"  # the note's key while an upload is not accepted
LOOK_EVERY = 0.2  # seconds


def is_uploaded(folder: Path) -> bool:
    """Whether rbp has noted that the service has all of the run as it is now."""
    return all_marked(folder) and read_json(folder / "wandb" / NOTE) == _note(folder)


def all_marked(folder: Path) -> bool:
    """Whether the run has segments, and each of them a marker."""
    files = written(folder)
    return bool(files) and all(upload_marker(file).exists() for file in files)


def is_half_sent(folder: Path) -> bool:
    """Whether an upload was begun that has not been accepted; its markers prove nothing."""
    return bool(_begun(folder))


def _begun(folder: Path) -> list[str]:
    """Return the names of the segments that such an upload was for."""
    note = read_json(folder / "wandb" / NOTE)
    return list(note.get(SENDING, [])) if isinstance(note, dict) else []


def _to_send(folder: Path) -> list[Path]:
    doubtful = _begun(folder)
    files = written(folder)
    return [file for file in files if not upload_marker(file).exists() or file.parent.name in doubtful]


def note_uploaded(folder: Path) -> None:
    """Note that the service has all of the run."""
    write_json(folder / "wandb" / NOTE, _note(folder))


def _note(folder: Path) -> dict[str, object]:
    """Return what the note says of the run as it is now: id, segments and number of steps."""
    names = [file.parent.name for file in written(folder)]
    return {"id": wandb_id(folder), "segments": names, "steps": len(metrics_after(-1, folder))}


def upload(folder: Path, limit: float) -> Words | None:
    """Upload the segments that have no marker, or none that can be trusted.

    Args:
        folder: The run folder.
        limit: Seconds after which the upload is given up.

    Returns:
        None if the service has accepted all of them; else why not, and they have no marker.
    """
    files = _to_send(folder)
    for file in files:
        upload_marker(file).unlink(missing_ok=True)
    write_json(folder / "wandb" / NOTE, {SENDING: [file.parent.name for file in files]})
    command = [sys.executable, "-m", "wandb", "sync", "--include-online"]
    if wandb_id(folder) != default_id(folder):
        command += ["--id", wandb_id(folder)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:  # for wandb's own logs
        problem = _run([*command, *(str(file.parent) for file in files)], Path(place), limit)
    if problem is None and not all(upload_marker(file).exists() for file in files):
        problem = Words("wandb sync has not marked it as uploaded")
    if problem is not None:
        for file in files:  # wandb marks files whose steps were refused, too
            upload_marker(file).unlink(missing_ok=True)
    return problem


def _run(command: list[str], place: Path, limit: float) -> Words | None:
    """Run `wandb sync` and return the complaint, if there is one."""
    output, deadline = place / "output.txt", time.monotonic() + limit
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=os.environ | {"WANDB_DIR": str(place)},
        )
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if (words := _complaint(place)) is not None and words.deleted:  # wandb would ask again for hours
                return words
            time.sleep(LOOK_EVERY)
        words = _complaint(place)
        if process.poll() is None:
            return (words or Words("no answer"))._replace(late=True)
    finally:
        process.kill()  # wandb's own process ends with it
        process.wait()
    return _outcome(words, output.read_text("utf-8", "replace").splitlines())


def _outcome(words: Words | None, lines: list[str]) -> Words | None:
    """Return the complaint of a sync that has ended: refused steps, or an error that it has printed."""
    errors = [line.partition("ERROR ")[2] for line in lines if line.startswith("wandb: ERROR ")]
    if words is not None and (words.lost or errors):
        return words
    if errors:
        return Words(" ".join(errors[-1].split()))
    if any(line.endswith("Not authenticated.") for line in lines):
        return Words("not logged in: wandb login, or set WANDB_API_KEY")
    return None


def _complaint(place: Path) -> Words | None:
    found = [words for log in place.glob("wandb/logs/debug-sync.*.log") if (words := last_words(log))]
    return found[-1] if found else None
