"""CIFAR10-DVS (Li et al. 2017): 1,000 recordings of each of ten classes, 128 x 128 pixels.

The recordings are found in any of the usual forms: the ten class zips or folders of .aedat files (AEDAT 2.0)
or .aedat4 files (as tonic has them), SpikingJelly's events_np, or the published code's train/N.pt and
test/N.pt.
"""

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rbp.data.archives import members
from rbp.data.events.framing import Framing
from rbp.data.events.prepare.prepare import EventSet
from rbp.data.events.prepare.sources import FoundRecordings, NoRecordings
from rbp.data.events.readers.pairs import read_pair
from rbp.data.events.recordings import Recording, content_of, natural
from rbp.data.events.splitting import require_default_split, split
from rbp.data.files import broken, listing
from rbp.errors import DataError

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
NAME = "cifar10_dvs"
# Folders that SpikingJelly and tonic use below their root; the first one with all classes is used.
_PLACES = ("", "download", "extract", "events_np", "CIFAR10DVS")
_KINDS = {".aedat": "aedat2", ".aedat4": "aedat4", ".npz": "events_np"}


def find(root: Path, framing: Framing) -> FoundRecordings:
    """Find the recordings below root and split them into training and test set.

    Raises:
        NoRecordings: If there are none.
        DataError: If some classes are missing, recordings are found twice, or a file is named after another
            class.
    """
    pairs = {part: _pairs(root / part) for part in ("train", "test")}
    if any(pairs.values()):
        return _split_pairs(pairs, root, framing)
    incomplete = []
    for place in (root / name for name in _PLACES):
        by_class = {name: _of_class(place, name, label) for label, name in enumerate(CLASSES)}
        missing = [name for name, recordings in by_class.items() if not recordings]
        if not missing:
            everything = [r for recordings in by_class.values() for r in recordings]
            _check_forms(everything, place)
            train, test = split(everything, framing.split_seed, NAME)
            return FoundRecordings(train, test, f"{everything[0].kind} in {place}", _unequal(by_class))
        if len(missing) < len(CLASSES):
            incomplete.append(f"{place}: CIFAR10-DVS is incomplete, missing the classes {', '.join(missing)}")
    if incomplete:
        raise DataError(
            f"{'; '.join(incomplete)}. Add what is missing: CLASS.zip or CLASS/*.aedat (or .aedat4, .npz)"
        )
    raise NoRecordings(
        f"dataset.root={root}: CIFAR10-DVS is not there. Expected in it (or in its download, extract, "
        "events_np or CIFAR10DVS): airplane.zip ... truck.zip, or airplane/*.aedat ... truck/*.aedat (or "
        "tonic's *.aedat4, or SpikingJelly's *.npz), or train/N.pt and test/N.pt. The zips are at "
        "https://doi.org/10.6084/m9.figshare.4724671.v2"
    )


def _of_class(place: Path, name: str, label: int) -> list[Recording]:
    """Return the recordings of a class from its folder or its zip, ordered by number."""
    folder, archive = place / name, place / f"{name}.zip"
    unpacked = [file for file in sorted(listing(folder)) if _kind(file)]
    if unpacked and archive.is_file():
        raise DataError(
            f"{folder} and {archive}: the class is there twice, and one may be half of it; "
            f"move one away (the folder has {len(unpacked)} recordings)"
        )
    packed = [info.filename for info in members(archive)] if archive.is_file() else []
    found: dict[str, Recording] = {}
    for path in unpacked or packed:
        if kind := _kind(path):
            file, member = (folder / path, None) if unpacked else (archive, path)
            recording = Recording(f"{name}/{Path(path).stem}", kind, file, label, member)
            _check_name(recording, path, name)
            if twin := found.get(recording.name):
                raise broken(recording.where, f"is there twice; {twin.where} is the same recording")
            found[recording.name] = recording
    return [found[key] for key in sorted(found, key=natural)]


def _kind(path: str) -> str | None:
    """Return the kind of recording by file name; None for other files, such as ._NAME, which macOS adds."""
    file = Path(path)
    return None if file.name.startswith(".") else _KINDS.get(file.suffix.lower())


def _check_name(recording: Recording, path: str, name: str) -> None:
    """Raise DataError if a file's name, or the name of its folder in a zip, is that of another class."""
    others = set(re.findall("[a-z]+", path.lower())) & set(CLASSES) - {name}
    if others:
        raise broken(
            recording.where, f"is a recording of {', '.join(sorted(others))} by its name, and lies in {name}"
        )


def _check_forms(recordings: list[Recording], place: Path) -> None:
    """Raise DataError if some recordings are AEDAT 4.0 and others not.

    They may hold the picture in another orientation (docs/events.md), and then a network could tell classes
    by the form of their files.
    """
    new = [recording for recording in recordings if recording.kind == "aedat4"]
    if 0 < len(new) < len(recordings):
        raise DataError(
            f"{place}: {len(new):,} of {len(recordings):,} recordings are AEDAT 4.0, such as {new[0].where}; "
            "leave recordings of one form there, since the two may differ in how the picture lies"
        )


def _unequal(by_class: dict[str, list[Recording]]) -> str:
    """Return a note on the class sizes if they differ, else "": the published set has 1,000 of each class."""
    if len({len(recordings) for recordings in by_class.values()}) == 1:
        return ""
    sizes = ", ".join(f"{name} {len(recordings):,}" for name, recordings in by_class.items())
    return f"The classes have unequal numbers of recordings: {sizes}."


def _pairs(folder: Path) -> list[Recording]:
    """Return the recordings 0.pt, 1.pt, ... of a folder; raise DataError if a number is missing."""
    stems = {Path(file).stem for file in listing(folder) if file.endswith(".pt") and file[0] != "."}
    wanted = [str(number) for number in range(len(stems))]
    if missing := [stem for stem in wanted if stem not in stems]:
        raise DataError(
            f"{folder}: has {len(stems)} files .pt but not {missing[0]}.pt; numbers must go on from 0"
        )
    return [Recording(f"{folder.name}/{stem}", "pair", folder / f"{stem}.pt") for stem in wanted]


def _split_pairs(pairs: dict[str, list[Recording]], root: Path, framing: Framing) -> FoundRecordings:
    """Return pairs in their official split, after checking T; all must have the size of the first one."""
    for part, recordings in pairs.items():
        if not recordings:
            raise DataError(f"{root / part}: has no frames; expected 0.pt, 1.pt, ... there")
    require_default_split(framing, f"the frames in {root}/train and {root}/test")
    T, side = _first_shape(pairs["train"]) or (framing.T, None)
    if framing.T != T or framing.by != "number":
        raise DataError(
            f"T={framing.T} dataset.frames_by={framing.by}: the frames in {root}/train are made already, "
            f"{T} a recording by number; set T={T}, or prepare the recordings themselves"
        )
    train, test = ([replace(pair, side=side) for pair in recordings] for recordings in pairs.values())
    return FoundRecordings(train, test, f"pairs in {root}")


def _first_shape(pairs: list[Recording]) -> tuple[int, int] | None:
    """Return T and side of the first readable pair; preparation reports the unreadable ones."""
    for pair in pairs:
        with suppress(DataError):
            counts, _ = read_pair(content_of(pair), len(CLASSES), pair.where)
            return len(counts), counts.shape[-1]
    return None


cifar10_dvs = EventSet(NAME, "CIFAR10-DVS", len(CLASSES), find)
