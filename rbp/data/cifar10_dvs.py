"""CIFAR10-DVS (Li et al. 2017): 1,000 recordings of each of ten classes, 128 x 128 pixels.

Found in any of the forms that people have: the ten class zips or folders of .aedat, SpikingJelly's events_np,
or the published code's train/N.pt and test/N.pt.
"""

import os
from pathlib import Path

from rbp.data.archives import members
from rbp.data.files import broken
from rbp.data.framing import Framing
from rbp.data.pairs import read_pair
from rbp.data.prepare import EventSet
from rbp.data.recordings import Recording, natural
from rbp.data.sources import Found
from rbp.data.splitting import refuse_seed, split
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
# Where SpikingJelly puts things below its root; the first place that has all classes counts.
_PLACES = ("", "download", "extract", "events_np")
_KINDS = {".aedat": "aedat2", ".npz": "events_np"}


def find(root: Path, framing: Framing) -> Found:
    """The recordings below root, split. Raises DataError if there are none, or some classes only."""
    if (root / "train").is_dir() or (root / "test").is_dir():
        return _find_pairs(root, framing)
    incomplete = []
    for place in (root / name for name in _PLACES):
        by_class = {name: _of_class(place, name, label) for label, name in enumerate(CLASSES)}
        missing = [name for name, recordings in by_class.items() if not recordings]
        if not missing:
            everything = [r for recordings in by_class.values() for r in recordings]
            train, test = split(everything, framing.split_seed, NAME)
            return Found(train, test, f"{everything[0].kind} in {place}")
        if len(missing) < len(CLASSES):
            incomplete.append(f"{place}: CIFAR10-DVS is incomplete, missing the classes {', '.join(missing)}")
    if incomplete:
        raise DataError(f"{'; '.join(incomplete)}. Add what is missing: CLASS.zip or CLASS/*.aedat (or .npz)")
    raise DataError(
        f"dataset.root={root}: CIFAR10-DVS is not there. Expected in it (or in its download, extract or "
        "events_np): airplane.zip ... truck.zip, or airplane/*.aedat ... truck/*.aedat (or SpikingJelly's "
        "*.npz), or train/N.pt and test/N.pt. The zips are at https://doi.org/10.6084/m9.figshare.4724671.v2"
    )


def _of_class(place: Path, name: str, label: int) -> list[Recording]:
    """The recordings of a class, by number: those in its folder, or where there is none, in its zip."""
    folder, archive = place / name, place / f"{name}.zip"
    found: dict[str, Recording] = {}
    if folder.is_dir():
        for file in map(Path, _listing(folder)):
            if kind := _KINDS.get(file.suffix):
                key = f"{name}/{file.stem}"
                found.setdefault(key, Recording(key, kind, folder / file, label))
    elif archive.is_file():
        for info in members(archive):
            path = Path(info.filename)
            if (kind := _KINDS.get(path.suffix)) and not path.name.startswith("."):  # what macOS adds
                key = f"{name}/{path.stem}"
                if key in found:
                    raise broken(archive, f"has {path.name} twice")
                found[key] = Recording(key, kind, archive, label, member=info.filename)
    return [found[key] for key in sorted(found, key=natural)]


def _listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read: {error.strerror}") from error


def _find_pairs(root: Path, framing: Framing) -> Found:
    """train/N.pt and test/N.pt, N from 0 on; their split and their T are what they are."""
    refuse_seed(framing, f"the frames in {root}/train and {root}/test")
    train, test = (_pairs(root / part) for part in ("train", "test"))
    counts, _ = read_pair(train[0].file.read_bytes(), len(CLASSES), train[0].where)
    if len(counts) != framing.T or framing.by != "number":
        raise DataError(
            f"T={framing.T} dataset.frames_by={framing.by}: the frames in {root}/train are made already, "
            f"{len(counts)} a recording by number; set T={len(counts)}, or prepare the recordings themselves"
        )
    return Found(train, test, f"pairs in {root}")


def _pairs(folder: Path) -> list[Recording]:
    stems = {
        Path(name).stem for name in (_listing(folder) if folder.is_dir() else []) if name.endswith(".pt")
    }
    if not stems:
        raise DataError(f"{folder}: has no frames; expected 0.pt, 1.pt, ... there")
    wanted = [str(number) for number in range(len(stems))]
    if missing := [stem for stem in wanted if stem not in stems]:
        raise DataError(
            f"{folder}: has {len(stems)} files .pt but not {missing[0]}.pt; numbers must go on from 0"
        )
    return [Recording(f"{folder.name}/{stem}", "pair", folder / f"{stem}.pt") for stem in wanted]


cifar10_dvs = EventSet(NAME, "CIFAR10-DVS", len(CLASSES), find)
