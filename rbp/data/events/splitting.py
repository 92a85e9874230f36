"""The split of recordings into training and test sets where the files come with none."""

import torch

from rbp.data.events.framing import Framing
from rbp.data.events.recordings import Recording
from rbp.errors import DataError
from rbp.seeds import stream

TESTED = 10  # one of so many recordings is for testing


def split(recordings: list[Recording], seed: int, name: str) -> tuple[list[Recording], list[Recording]]:
    """(train, test): a tenth of every class is for testing, drawn by a stream of its own; order is kept.

    The split depends on `seed` and on the recordings' names and labels, not on the form of their files.
    """
    tested: set[str] = set()
    for label in sorted({recording.label for recording in recordings if recording.label is not None}):
        members = [recording.name for recording in recordings if recording.label == label]
        order = torch.randperm(len(members), generator=stream(seed, name, "split", label)).tolist()
        n = max((len(members) + TESTED // 2) // TESTED, min(1, len(members) - 1))
        tested |= {members[i] for i in order[:n]}
    train = [recording for recording in recordings if recording.name not in tested]
    return train, [recording for recording in recordings if recording.name in tested]


def refuse_seed(framing: Framing, what: str) -> None:
    """Raise DataError if a split is asked for where the files come with one."""
    if framing.split_seed != 0:
        raise DataError(
            f"dataset.split_seed={framing.split_seed}: {what} come with a split of their own; leave it at 0"
        )
