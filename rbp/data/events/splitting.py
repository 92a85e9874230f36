"""Split recordings into training and test sets where the data set has no official split."""

import torch

from rbp.data.events.framing import Framing
from rbp.data.events.recordings import Recording
from rbp.errors import DataError
from rbp.seeds import stream

TEST_ONE_IN = 10  # one recording in TESTED goes to the test set


def split(recordings: list[Recording], seed: int, name: str) -> tuple[list[Recording], list[Recording]]:
    """Split recordings into (train, test), with a random tenth of every class in the test set.

    The split depends on `seed`, on `name`, and on the recordings' names, labels and order, not on the form of
    their files. Each class has a random stream of its own. Both parts keep the order of `recordings`.

    Args:
        recordings: Labelled recordings.
        seed: Seed of the split (`dataset.split_seed`).
        name: Name of the data set, which is part of the random stream's name.
    """
    tested: set[str] = set()
    for label in sorted({recording.label for recording in recordings if recording.label is not None}):
        members = [recording.name for recording in recordings if recording.label == label]
        order = torch.randperm(len(members), generator=stream(seed, name, "split", label)).tolist()
        n = max((len(members) + TEST_ONE_IN // 2) // TEST_ONE_IN, min(1, len(members) - 1))
        tested |= {members[i] for i in order[:n]}
    train = [recording for recording in recordings if recording.name not in tested]
    return train, [recording for recording in recordings if recording.name in tested]


def require_default_split(framing: Framing, what: str) -> None:
    """Raise DataError if `split_seed` is set for a data set with an official split.

    Args:
        framing: Settings of the frames.
        what: The files with the official split, for the error message.
    """
    if framing.split_seed != 0:
        raise DataError(
            f"dataset.split_seed={framing.split_seed}: {what} come with a split of their own; leave it at 0"
        )
