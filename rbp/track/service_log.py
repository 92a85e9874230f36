"""What wandb's service has answered, as far as it can be read in the log of wandb's own process (wandb-core).

wandb ends without an error, and marks a file as uploaded, also where the service has refused its steps. Its
log is the only place that tells.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from rbp.files import read_line

_RETRIES = ("api: retrying HTTP error", "api: retrying error")
_LOSSES = ("filestream: ", "sender: failed to log artifact: ")
_FAILURES = (*_LOSSES, "runupserter: failed to init run", "runreader: init error: ")


class Words(NamedTuple):
    """The last complaint in a log.

    Attributes:
        text: The complaint, in the service's own words if it gave any.
        status: Its HTTP status; None if the service has not answered.
        lost: Whether wandb has given up steps or a checkpoint for it.
        late: Whether it was given up for the time it took.
    """

    text: str
    status: int | None = None
    lost: bool = False
    late: bool = False

    @property
    def deleted(self) -> bool:
        """Whether the run was deleted on the server, which refuses its id for good."""
        return "deleted" in self.text and self.status in (None, 409)


def last_words(log: Path) -> Words | None:
    """Return the last complaint in a log; one that has cost something comes before later ones."""
    try:
        lines = log.read_bytes().splitlines()
    except OSError:
        return None
    found = [words for line in lines if (words := _words(read_line(line))) is not None]
    return next((words for words in reversed(found) if words.lost), found[-1] if found else None)


def _words(entry: Any) -> Words | None:
    """Return the complaint of one line of the log; None if it is something else."""
    if not isinstance(entry, dict) or not isinstance(message := entry.get("msg"), str):
        return None
    error = entry.get("error")
    if message in _RETRIES:
        status = entry.get("status")
        told = str(entry.get("body") or error or "no answer")
        return Words(_line(f"{status} {told}" if status else told), status)
    start = next(filter(message.startswith, _FAILURES), None)
    if start is None or not str(entry.get("level")).startswith("ERROR"):
        return None
    return Words(_line(str(error) if error else message.removeprefix(start)), lost=start in _LOSSES)


def _line(text: str) -> str:
    """Return a text as one line; of an answer in GraphQL's form, only its messages."""
    text = text.rpartition("while retrying: ")[2].removesuffix(". got response: <nil>")
    before, brace, answer = text.partition("{")
    try:
        messages = [error["message"] for error in json.loads(brace + answer)["errors"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return " ".join(text.split()).rstrip(": ")
    return " ".join(f"{before}{'; '.join(map(str, messages))}".split())
