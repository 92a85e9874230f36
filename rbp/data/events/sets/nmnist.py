"""N-MNIST (Orchard et al. 2015): MNIST's digits on a screen before an event camera that makes three saccades.

60,000 training and 10,000 test recordings of 34 x 34 pixels, in the folders Train/0 ... Test/9 of .bin files,
or in Train.zip and Test.zip. It is a control: a network that sees frames without their order reaches 99.2 %
(Iyer, Chua and Li 2021), so that accuracy on it is no evidence that order in time is used.
"""

from collections.abc import Iterable
from pathlib import Path

from rbp.data.archives import members
from rbp.data.events.framing import Framing
from rbp.data.events.prepare.prepare import EventSet
from rbp.data.events.prepare.sources import FoundRecordings, NoRecordings
from rbp.data.events.recordings import Recording, natural
from rbp.data.events.splitting import require_default_split
from rbp.data.files import broken, listing
from rbp.errors import DataError

CLASSES = 10
_SIZES = {"Train": 60_000, "Test": 10_000}
_DIGITS = [str(label) for label in range(CLASSES)]
# Folders that tonic and SpikingJelly use below their root; the first one with recordings is used.
_PLACES = ("", "NMNIST", "download", "extract")


def find(root: Path, framing: Framing) -> FoundRecordings:
    """Find the recordings below root in their official split.

    Raises:
        NoRecordings: If there are none.
        DataError: If digits are missing in a split, a split is there twice, or a zip holds other files.
    """
    for place in (root / name for name in _PLACES):
        parts = {part: _of_part(place, part) for part in _SIZES}
        if any(parts.values()):
            _check_digits(parts, place)
            require_default_split(framing, f"the recordings in {place}")
            return FoundRecordings(parts["Train"], parts["Test"], f"nmnist in {place}", _fewer(parts))
    raise NoRecordings(
        f"dataset.root={root}: N-MNIST is not there. Expected in it (or in its NMNIST, download or extract): "
        "Train.zip and Test.zip, or Train/0/*.bin ... Test/9/*.bin. "
        "The zips are at https://doi.org/10.17632/468j46mzdv.1"
    )


def _of_part(place: Path, part: str) -> list[Recording]:
    """Return the recordings of Train or Test from its folder or its zip, ordered by digit and number."""
    unpacked, archive = _unpacked(place / part, part), _archive(place, part)
    packed = _packed(archive, part) if archive else {}
    if unpacked and packed and unpacked.keys() != packed.keys():
        raise DataError(
            f"{place / part} and {archive}: the split is there twice and not the same, {len(unpacked):,} "
            f"recordings unpacked and {len(packed):,} in the zip; move one away"
        )
    found = unpacked or packed
    return [found[name] for name in sorted(found, key=natural)]


def _unpacked(folder: Path, part: str) -> dict[str, Recording]:
    """Return the recordings in a folder's folders 0 to 9, by name."""
    files = [folder / digit / name for digit in _DIGITS for name in sorted(listing(folder / digit))]
    return _by_name(_recording(part, file.parent.name, file, None) for file in files if _is_bin(file.name))


def _archive(place: Path, part: str) -> Path | None:
    """Return the zip of Train or Test, in whatever case its name is written."""
    names = sorted(name for name in listing(place) if name.lower() == f"{part.lower()}.zip")
    if len(names) > 1:
        raise DataError(f"{place}: has {' and '.join(names)}; move one away")
    return place / names[0] if names else None


def _packed(archive: Path, part: str) -> dict[str, Recording]:
    """Return the recordings in a zip of Train/0/*.bin ... Train/9/*.bin, by name."""
    names = [info.filename for info in members(archive) if _is_bin(Path(info.filename).name)]
    for name in names:
        if Path(name).parts[-3:-1] not in [(part, digit) for digit in _DIGITS]:
            raise broken(f"{archive}: {name}", f"must lie in one of {part}/0 ... {part}/9")
    return _by_name(_recording(part, Path(name).parent.name, archive, name) for name in names)


def _by_name(recordings: Iterable[Recording]) -> dict[str, Recording]:
    """Return recordings by name; raise DataError if two have the same."""
    found: dict[str, Recording] = {}
    for recording in recordings:
        if twin := found.get(recording.name):
            raise broken(recording.where, f"is there twice; {twin.where} is the same recording")
        found[recording.name] = recording
    return found


def _recording(part: str, digit: str, file: Path, member: str | None) -> Recording:
    stem = Path(member or file).stem
    return Recording(f"{part}/{digit}/{stem}", "nmnist", file, _DIGITS.index(digit), member)


def _is_bin(name: str) -> bool:
    return name.lower().endswith(".bin") and not name.startswith(".")  # ._NAME is what macOS adds


def _check_digits(parts: dict[str, list[Recording]], place: Path) -> None:
    """Raise DataError if a split lacks a digit."""
    lacks = []
    for part, recordings in parts.items():
        there = {recording.label for recording in recordings}
        missing = [digit for label, digit in enumerate(_DIGITS) if label not in there]
        if missing:
            lacks.append(f"{part} the digits {', '.join(missing)}" if there else f"{part} as a whole")
    if lacks:
        raise DataError(
            f"{place}: N-MNIST is incomplete, missing: {'; '.join(lacks)}. Add Train.zip and Test.zip, or "
            "what they hold: Train/0/*.bin ... Test/9/*.bin"
        )


def _fewer(parts: dict[str, list[Recording]]) -> str:
    """Return a note if the set is not the official one by its numbers, else ""."""
    if all(len(parts[part]) == size for part, size in _SIZES.items()):
        return ""
    there = " and ".join(f"{len(recordings):,} in {part}" for part, recordings in parts.items())
    return f"N-MNIST has 60,000 recordings in Train and 10,000 in Test; here are {there}."


nmnist = EventSet("nmnist", "N-MNIST", CLASSES, find)
