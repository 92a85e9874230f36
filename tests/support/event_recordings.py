"""Small event data sets in their true on-disk formats, written event by event, and their frames, counted
event by event.
"""

import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rbp.data.events.framing import Framing
from rbp.data.events.prepare import shards
from rbp.data.events.sets.cifar10_dvs import CLASSES
from tests.support.aedat4 import aedat4

Events = list[tuple[int, int, int, int]]  # t in microseconds, x, y, p

HEADER2 = (
    b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
    b"# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n"
    b"# Timestamps tick is 1 us\r\n"
)
HEADER3 = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def framing(**changed: object) -> Framing:
    """The framing of conf/dataset/cifar10_dvs.yaml at T=4, with some values changed."""
    values = {
        "T": 4,
        "size": 48,
        "style": "counts",
        "by": "number",
        "split_seed": 0,
        "on_error": "raise",
        "prepared": None,
    }
    return Framing(**(values | changed))  # type: ignore[arg-type]


def stopped_before(number: int, prepare: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepare until the shard of this number is to be made, as if killed then."""
    whole = shards.make

    def make(shard: shards.Shard) -> None:
        if shard.number == number:
            raise KeyboardInterrupt
        whole(shard)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards, "make", make)
        prepare()


def random_events(n: int, seed: int, side: int = 128) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 1_300_000, n))
    return [tuple(map(int, e)) for e in zip(t, *rng.integers(0, [[side], [side], [2]], (3, n)), strict=True)]  # type: ignore[misc]


def aedat2(events: Events) -> bytes:
    """One 32-bit address and one 32-bit time an event, the most significant byte first."""
    return HEADER2 + b"".join(
        struct.pack(">II", (127 - x) << 8 | (127 - y) << 1 | (1 - p), t) for t, x, y, p in events
    )


def aedat3(events: Events, packet: int = 100, overflow: int = 0) -> bytes:
    """Packets of polarity events, with one of another type (0, special) in between."""
    content = HEADER3 + struct.pack("<HHIIIIII", 0, 1, 8, 4, 0, 1, 1, 1) + struct.pack("<Ii", 3, 0)
    for first in range(0, len(events), packet):
        part = events[first : first + packet]
        content += struct.pack("<HHIIIIII", 1, 1, 8, 4, overflow, len(part), len(part), len(part))
        content += b"".join(struct.pack("<Ii", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in part)
    return content


def nmnist(events: Events) -> bytes:
    """Five bytes an event: x, y, polarity and time."""
    return b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for t, x, y, p in events)


def write_npz(file: Path, events: Events) -> None:
    """As SpikingJelly writes it."""
    columns = np.array(events, np.int64).reshape(-1, 4).T
    by_name: dict[str, Any] = dict(zip("txyp", columns, strict=True))
    np.savez(file, **by_name)


def write_cifar10_dvs(root: Path, form: str, n: int = 10, n_events: int = 200) -> dict[str, Events]:
    """n recordings of each class as `form` = zips, folders, aedat4, aedat4 zips or events_np; gives the
    events of each by name.
    """
    ending, encode = (".aedat4", aedat4) if "aedat4" in form else (".aedat", aedat2)
    written = {}
    for label, name in enumerate(CLASSES):
        place = root / "events_np" if form == "events_np" else root
        (place / name).mkdir(parents=True)
        for number in range(n):
            stem = f"{name}/cifar10_{name}_{number}"
            written[stem] = events = class_events(label, number, n_events)
            if form == "events_np":
                write_npz(place / f"{stem}.npz", events)
            else:
                (place / f"{stem}{ending}").write_bytes(encode(events))
        if "zips" in form:
            with zipfile.ZipFile(root / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted((root / name).iterdir()):
                    archive.write(file, f"{name}/{file.name}")
                    file.unlink()
            (root / name).rmdir()
    return written


def class_events(label: int, number: int, n: int) -> Events:
    """Events of which two in three lie in a place of the class's own."""
    events = random_events(n, 1000 * label + number)
    return [(t, x // 4 + 10 * label, y // 4 + 32, p) if t % 3 else (t, x, y, p) for t, x, y, p in events]


def write_pairs(root: Path, n_train: int = 20, n_test: int = 10, T: int = 10, side: int = 128) -> None:
    """train/N.pt and test/N.pt as the published code reads them."""
    for part, n in {"train": n_train, "test": n_test}.items():
        (root / part).mkdir(parents=True)
        for number in range(n):
            torch.save(pair(number, T, side), root / part / f"{number}.pt")


def pair(number: int, T: int = 10, side: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.randint(0, 4, (T, 2, side, side), generator=torch.Generator().manual_seed(number))
    return frames.float(), torch.tensor(number % 10)


def write_gesture(root: Path, users: int = 3) -> dict[str, tuple[Events, list[tuple[int, int, int]]]]:
    """DvsGesture with one session a user, the last user for testing; gives events and (class, start, end)."""
    folder = root / "DvsGesture"
    folder.mkdir(parents=True)
    sessions = {}
    for user in range(1, users + 1):
        name = f"user{user:02}_lab"
        events = random_events(1200, user)
        spans = [(k + 1, 110_000 * k + 5_000, 110_000 * k + 100_000) for k in range(11)]
        sessions[name] = events, spans
        (folder / f"{name}.aedat").write_bytes(aedat3(events))
        lines = ["class,startTime_usec,endTime_usec", *(",".join(map(str, span)) for span in spans)]
        (folder / f"{name}_labels.csv").write_text("\n".join(lines) + "\n")
    names = [f"{name}.aedat\n" for name in sessions]
    (folder / "trials_to_train.txt").write_text("".join(names[:-1]))
    (folder / "trials_to_test.txt").write_text(names[-1])
    return sessions


def write_nmnist(root: Path, form: str, n: int = 2, n_events: int = 60) -> dict[str, Events]:
    """n training recordings and one test recording of each digit as `form` = zips or folders; gives the
    events of each by name. The numbers of the files go through all digits, as in the official set.
    """
    written = {}
    for part, each in {"Train": n, "Test": 1}.items():
        for number in range(1, 10 * each + 1):
            label = number % 10
            name = f"{part}/{label}/{number:05}"
            written[name] = random_events(n_events, 100 * number + len(part), 34)
            file = root / f"{name}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(nmnist(written[name]))
        if form == "zips":
            pack_nmnist(root, part)
            shutil.rmtree(root / part)
    return written


def pack_nmnist(root: Path, part: str) -> None:
    """Pack Train or Test as the official zips are."""
    with zipfile.ZipFile(root / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((root / part).rglob("*")):
            archive.write(path, path.relative_to(root))


def slow_count(events: Events, T: int, by: str, side: int) -> np.ndarray:
    """Event by event, each to its frame."""
    frames = np.zeros((T, 2, side, side), np.float32)
    each, long = len(events) // T, (events[-1][0] - events[0][0]) // T
    for number, (t, x, y, p) in enumerate(events):
        part, length = (number, each) if by == "number" else (t - events[0][0], long)
        frame = min(part // length, T - 1) if length else T - 1
        frames[frame, p, y, x] += 1
    return frames
