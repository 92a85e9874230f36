"""Which image files are broken: all are decoded once, and those that are not whole are counted and named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import track

from rbp.data.image_files.decode import check
from rbp.data.image_files.listing import Listing
from rbp.data.image_files.workers import in_workers
from rbp.errors import DataError
from rbp.terminal.output import Screen

_PIECE = 64  # files that a worker checks at once
_NAMED = 10  # broken files that are named in a message


def broken_files(folder: Path, listing: Listing, workers: int | None) -> dict[str, str]:
    """Return what is wrong with each broken file of a part, by CLASS/FILE, after decoding all of them.

    Args:
        folder: The folder with the class folders.
        listing: The files in it.
        workers: Number of processes; None for one per usable core.
    """
    names = listing.names()

    def look(piece: range) -> list[tuple[str, str]]:
        found = []
        for name in (names[number] for number in piece):
            try:
                check(folder / name)
            except DataError as error:
                found.append((name, str(error)))
        return found

    pieces: Sequence[range] = [range(i, min(i + _PIECE, len(names))) for i in range(0, len(names), _PIECE)]
    screen = Screen(stderr=True)
    looked = track(
        in_workers(look, pieces, workers),
        f"checking {folder}",
        total=len(pieces),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )
    return dict(entry for found in looked for entry in found)


def refuse_broken(whys: list[str]) -> None:
    """Raise DataError if there are broken files, with what is wrong with the first ten."""
    if whys:
        more = f"\nand {len(whys) - _NAMED} more" if len(whys) > _NAMED else ""
        raise DataError("\n".join(whys[:_NAMED]) + more + "\nOr leave them out with dataset.on_error=skip")


def skipped(manifest: dict[str, Any]) -> str:
    """Return how many files an index leaves out, and which, as text."""
    n, first = len(manifest["skipped"]), manifest["skipped"][0]
    more = f" and {n - 1} more, listed in manifest.json" if n > 1 else ""
    return f"{n} skipped file{'s' if n > 1 else ''}: {first['why']}{more}"
