"""Readers of recordings: event for event, and whatever is wrong with a file is a DataError that names it."""

import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbp.data.archives import members, read_member
from rbp.data.events.events import Events as Read
from rbp.data.events.framing import Framing
from rbp.data.events.readers.aedat2 import read_aedat2
from rbp.data.events.readers.aedat3 import read_aedat3
from rbp.data.events.readers.aedat4 import read_aedat4
from rbp.data.events.readers.events_np import read_events_np
from rbp.data.events.readers.nmnist import read_nmnist
from rbp.data.events.readers.pairs import read_pair
from rbp.data.events.sets.dvs128_gesture import find
from rbp.errors import DataError
from tests.support.aedat4 import LZ4, MAGIC, NONE, aedat4
from tests.support.event_recordings import (
    HEADER2,
    HEADER3,
    Events,
    aedat2,
    aedat3,
    nmnist,
    pair,
    random_events,
    write_gesture,
    write_npz,
)

pixel = st.integers(0, 127)
event = st.tuples(st.integers(0, 2**31 - 1), pixel, pixel, st.integers(0, 1))
any_events = st.lists(event, min_size=1, max_size=50).map(lambda events: sorted(events, key=lambda e: e[0]))


def npz(events: Events) -> bytes:
    stream = io.BytesIO()
    write_npz(stream, events)  # type: ignore[arg-type]
    return stream.getvalue()


def saved(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def as_list(read: Read) -> Events:
    return [tuple(map(int, e)) for e in zip(read.t, *read.xyp(), strict=True)]  # type: ignore[misc]


READERS: dict[str, tuple[Callable, Callable]] = {
    "aedat2": (aedat2, lambda content: read_aedat2(content, "FILE")),
    "aedat3": (aedat3, lambda content: read_aedat3(content, "FILE")),
    "aedat4": (aedat4, lambda content: read_aedat4(content, "FILE")),
    "events_np": (npz, lambda content: read_events_np(content, 128, "FILE")),
}


@pytest.mark.parametrize("form", READERS)
@given(events=any_events)
@settings(max_examples=50, deadline=None)
def test_every_event_comes_back(form: str, events: Events) -> None:
    write, read = READERS[form]
    assert as_list(read(write(events))) == events


@pytest.mark.filterwarnings("ignore")
def test_spikingjelly_reads_the_same_events_out_of_the_same_files(tmp_path: Path) -> None:
    cifar10_dvs = pytest.importorskip("spikingjelly.datasets.cifar10_dvs", exc_type=Exception)  # type: ignore[arg-type]
    from spikingjelly.datasets.utils import load_aedat_v3

    events = random_events(500, 0)
    for form, load in (("aedat2", cifar10_dvs._load_origin_data), ("aedat3", load_aedat_v3)):
        write, read = READERS[form]
        (tmp_path / form).write_bytes(write(events))
        theirs = load(tmp_path / form)
        x, y, p = read(write(events)).xyp()
        for ours, key in ((x, "x"), (y, "y"), (p, "p")):
            assert np.array_equal(ours, np.asarray(theirs[key]).astype(int)), (form, key)
        assert np.array_equal(read(write(events)).t, theirs["t"])


def test_times_of_aedat3_go_on_where_31_bits_end() -> None:
    content = aedat3([(2**31 - 1, 1, 2, 0)]) + aedat3([(5, 3, 4, 1)], overflow=1)[len(HEADER3) + 36 :]
    assert as_list(read_aedat3(content, "FILE")) == [(2**31 - 1, 1, 2, 0), (2**31 + 5, 3, 4, 1)]


def test_events_marked_invalid_in_aedat3_are_left_out() -> None:
    content = bytearray(aedat3([(1, 5, 5, 1), (2, 6, 6, 1)]))
    content[-8] &= 0xFE  # bit 0 of the last event
    assert as_list(read_aedat3(bytes(content), "FILE")) == [(1, 5, 5, 1)]


def padded(events: Events, padding: bytes) -> bytes:
    """A packet with room for more events than there are, by whole events of padding."""
    whole = aedat3(events)
    at = whole.index(struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, *[len(events)] * 3))
    room = len(events) + len(padding) // 8
    head = struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, room, len(events), len(events))
    return whole[:at] + head + whole[at + len(head) :] + padding


@pytest.mark.parametrize("padding", [bytes(40), bytes([1] * 40), bytes([255] * 96)])
def test_room_for_more_events_in_a_packet_is_passed_over(padding: bytes) -> None:
    events = random_events(50, 1)
    content = padded(events[:25], padding) + padded(events[25:], padding)[len(HEADER3) :]
    assert as_list(read_aedat3(content, "FILE")) == events


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("compression", [NONE, LZ4])
def test_aedat4_in_its_variants_has_the_same_events(compression: int, closed: bool) -> None:
    events = random_events(250, 1)
    content = aedat4(events, compression=compression, closed=closed)
    assert as_list(read_aedat4(content, "FILE")) == events


def address(number: int, t: int = 0) -> bytes:
    return struct.pack(">II", number, t)


def overfull() -> bytes:
    return HEADER3 + struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, 2, 3, 3) + bytes(24)


GOOD = [(10, 1, 2, 0), (20, 3, 4, 1), (30, 5, 6, 0)]
BACK = [(10, 1, 2, 0), (30, 5, 6, 0), (20, 3, 4, 1)]


@pytest.mark.parametrize(
    ("form", "content", "said"),
    [
        ("aedat2", b"", "is empty"),
        ("aedat2", HEADER2, "has no events"),
        ("aedat2", b"#!AER-DAT3.1\r\n", "is no AEDAT 2.0"),
        ("aedat2", b"\x89PNG\r\n", "is no AEDAT 2.0"),
        ("aedat2", HEADER2[:-2], "is cut short in its header"),
        ("aedat2", aedat2(GOOD)[:-3], "is cut short: 5 bytes are left over"),
        ("aedat2", HEADER2 + address(3) + address(1 << 15), "event 1 has the address 0x8000, off the sensor"),
        ("aedat2", HEADER2 + address(2**32 - 1), "event 0 has the address 0xffffffff"),
        ("aedat2", aedat2(BACK), "time goes back after event 1: from 30 to 20 microseconds"),
        ("aedat3", b"", "is empty"),
        ("aedat3", HEADER2, "is no AEDAT 3.1"),
        ("aedat3", HEADER3[:-6], "has no line #!END-HEADER"),
        ("aedat3", HEADER3, "has no packet of polarity events"),
        ("aedat3", aedat3(GOOD)[:-3], "is cut short in a packet of 3 events"),
        ("aedat3", aedat3(GOOD) + b"\1\0", "is cut short in the header of a packet"),
        ("aedat3", aedat3([(1, 128, 5, 0)]), "event 0 has x=128; must be from 0 to 127"),
        ("aedat3", aedat3([(1, 5, 4000, 0)]), "event 0 has y=4000; must be from 0 to 127"),
        ("aedat3", overfull(), "has a packet of 3 events in room for 2"),
        ("aedat3", aedat3(BACK), "time goes back after event 1"),
        ("aedat2", aedat4(GOOD), "is AEDAT 4.0; give its name the ending .aedat4"),
        ("aedat4", b"", "is empty"),
        ("aedat4", aedat2(GOOD), "is no AEDAT 4.0: begins with b'#!AER-DAT2.0'"),
        ("aedat4", MAGIC, "cannot be read as AEDAT 4.0"),
        ("aedat4", aedat4(GOOD)[:200], "cannot be read as AEDAT 4.0: failed to fill whole buffer"),
        ("aedat4", aedat4(GOOD, compression=NONE, closed=False)[:-3], "failed to fill whole buffer"),
        ("aedat4", aedat4([]), "has no events"),
        ("aedat4", aedat4(GOOD, width=320, height=240), "of a sensor of 320 x 240 pixels; must be 128 x 128"),
        ("aedat4", aedat4([(1, 128, 5, 0)]), "event 0 has x=128; must be from 0 to 127"),
        ("aedat4", aedat4([(1, 5, -1, 0)]), "event 0 has y=65535"),
        ("aedat4", aedat4(BACK), "time goes back after event 1: from 30 to 20 microseconds"),
        ("events_np", b"", "is no whole zip archive"),
        ("events_np", npz(GOOD)[:-30], "is no whole zip archive"),
        ("events_np", npz([]), "has no events"),
        ("events_np", npz(BACK), "time goes back"),
        ("events_np", npz([(1, 200, 0, 0)]), "event 0 has x=200"),
        ("events_np", npz([(1, 0, 0, 2)]), "event 0 has p=2; must be from 0 to 1"),
        ("events_np", npz([(1, 0, -1, 0)]), "event 0 has y=-1"),
    ],
)
def test_broken_recordings_are_named_with_what_is_wrong(form: str, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match="FILE") as told:
        READERS[form][1](content)
    assert said in str(told.value)


def arrays(**values: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **values)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (arrays(t=np.arange(3), x=np.arange(3)), "lacks the arrays y, p"),
        (arrays(t=np.arange(3), x=np.arange(3), y=np.arange(3), p=np.zeros(2, int)), "2 polarities"),
        (arrays(t=np.arange(3), x=np.ones(3), y=np.arange(3), p=np.zeros(3, int)), "x: is float64"),
        (
            arrays(t=np.ones((2, 2), int), x=np.arange(2), y=np.arange(2), p=np.arange(2)),
            "t: is int64 [2, 2]",
        ),
    ],
)
def test_arrays_of_other_kinds_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(DataError) as told:
        read_events_np(content, 128, "FILE")
    assert said in str(told.value)


# --- pairs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [3, torch.tensor(3), torch.tensor([3])])
def test_a_pair_is_counts_and_a_label(label: object) -> None:
    frames, _ = pair(0, T=2, side=16)
    counts, read = read_pair(saved((frames, label)), 10, "FILE")
    assert read == 3 and counts.dtype == np.float32 and np.array_equal(counts, frames.numpy())


class Payload:
    """What a pickle that runs code looks like."""

    def __reduce__(self) -> tuple:
        return print, ("code of a data file ran",)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ((torch.zeros(2, 2, 8, 8), 10), "has the label 10; must be a whole number from 0 to 9"),
        ((torch.zeros(2, 2, 8, 8), -1), "has the label -1"),
        ((torch.zeros(2, 2, 8, 8), torch.tensor(2.5)), "has the label 2.5"),
        ((torch.zeros(2, 2, 8, 8), torch.tensor([1, 2])), "has the label torch.int64 [2]"),
        ((torch.zeros(2, 2, 8, 8), "cat"), "has the label 'cat'"),
        ((torch.zeros(2, 2, 8, 8), True), "has the label True"),
        ((torch.zeros(2, 3, 8, 8), 1), "must be [T, 2, side, side]"),
        ((torch.zeros(2, 2, 8, 9), 1), "must be [T, 2, side, side]"),
        ((torch.zeros(2, 8, 8), 1), "must be a tensor [T, 2, H, W]"),
        ((torch.full((2, 2, 8, 8), -1.0), 1), "below 0 or not finite"),
        ((torch.full((2, 2, 8, 8), torch.nan), 1), "below 0 or not finite"),
        ((torch.zeros(1).expand(1000, 2, 999, 999), 1), "has frames [1000, 2, 999, 999] in"),
        (torch.zeros(2, 2, 8, 8), "holds a Tensor; must hold a pair"),
        ((Payload(), 1), "cannot be loaded with weights_only=True"),
    ],
)
def test_broken_pairs_are_named_with_what_is_wrong(
    held: object, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="FILE") as told:
        read_pair(saved(held), 10, "FILE")
    assert said in str(told.value)
    assert capsys.readouterr().out == ""


# --- fuzz: no crash, no hang, no memory blow-up -------------------------------------------------------------

FUZZED = {form: (write(random_events(200, 1)), read) for form, (write, read) in READERS.items()}
FUZZED["nmnist"] = (nmnist(random_events(200, 1, 34)), lambda content: read_nmnist(content, "FILE"))
FUZZED["pair"] = (saved(pair(0, T=2, side=16)), lambda content: read_pair(content, 10, "FILE"))


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes changed, a piece cut out or doubled."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(changed) - 1))
        changed[at] = draw(st.integers(0, 255))
    first, last = sorted(draw(st.tuples(*[st.integers(0, len(changed))] * 2)))
    kind = draw(st.sampled_from(["keep", "cut", "double", "end"]))
    if kind == "cut":
        del changed[first:last]
    elif kind == "double":
        changed[first:first] = changed[first:last]
    elif kind == "end":
        del changed[first:]
    return bytes(changed)


def survives(content: bytes, read: Callable) -> None:
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(content)
    except DataError as error:
        assert "FILE" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100 * len(content) + 10_000_000


@pytest.mark.slow
@pytest.mark.parametrize("form", FUZZED)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_mutated_files_are_read_or_refused(form: str, data: st.DataObject) -> None:
    content, read = FUZZED[form]
    survives(data.draw(mutated(content)), read)


@pytest.mark.slow
@pytest.mark.parametrize("form", FUZZED)
@given(tail=st.binary(max_size=400), with_head=st.booleans())
@settings(max_examples=150, deadline=None)
def test_random_bytes_are_read_or_refused(form: str, tail: bytes, with_head: bool) -> None:
    content, read = FUZZED[form]
    head = {"aedat2": HEADER2, "aedat3": HEADER3, "aedat4": MAGIC}.get(form, content[:30])
    survives((head if with_head else b"") + tail, read)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_archives_of_recordings_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"cat/cifar10_cat_{number}.aedat", aedat2(random_events(20, number)))
    file = tmp_path / f"FILE{data.draw(st.uuids())}.zip"  # archives are known by name and time of change

    def read(content: bytes) -> None:
        file.write_bytes(content)
        for info in members(file):
            read_aedat2(read_member(file, info.filename), str(file))

    survives(data.draw(mutated(stream.getvalue())), read)


def bomb(claimed: int, checked: bytes) -> bytes:
    """A zip whose member unpacks to 64 MiB of zeros but claims another size and the checksum of `checked`."""
    name, packer = b"cat/cifar10_cat_0.aedat", zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    sizes = struct.pack("<III", zlib.crc32(checked), len(packed), claimed)
    local = struct.pack("<IHHHHH", 0x04034B50, 20, 0, 8, 0, 33) + sizes + struct.pack("<HH", len(name), 0)
    entry = struct.pack("<IHHHHHH", 0x02014B50, 20, 20, 0, 8, 0, 33) + sizes
    entry += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name
    content = local + name + packed
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entry), len(content), 0)
    return content + entry + end


def test_a_member_takes_no_more_memory_than_it_claims(tmp_path: Path) -> None:
    said = r"cat.zip: cat/cifar10_cat_0.aedat: "
    for claimed, checked, wrong in (
        (100, bytes(2**26), said + "cannot be unpacked: Bad CRC"),
        (100, b"", said + "cannot be unpacked: Bad CRC"),
        (2**28 + 1, bytes(2**26), said + "claims to unpack to 268435457 bytes"),
    ):
        file = tmp_path / str(claimed) / str(len(checked)) / "cat.zip"
        file.parent.mkdir(parents=True)
        file.write_bytes(bomb(claimed, checked))
        tracemalloc.start()
        with pytest.raises(DataError, match=wrong):
            read_member(file, "cat/cifar10_cat_0.aedat")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000


def test_a_member_packed_without_a_bound_is_refused(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = tmp_path / f"{method}.zip"
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("x.aedat", aedat2(GOOD))
        with pytest.raises(DataError, match=rf"x.aedat: is packed by method {method}; must be stored"):
            read_member(file, "x.aedat")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["user01_lab_labels.csv", "trials_to_train.txt"])
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_lists_of_gestures_are_read_or_refused(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    root = tmp_path / "FILE"
    if not root.exists():
        write_gesture(root, users=2)
    file = root / "DvsGesture" / name
    framing = Framing(4, 16, "counts", "time", 0, "raise", None)

    whole = file.read_bytes()

    def read(content: bytes) -> None:
        file.write_bytes(content)
        found = find(root, framing)
        for gesture in found.train + found.test:
            assert gesture.file.is_file() and gesture.label in range(11)
            assert gesture.span is not None and 0 <= gesture.span[0] < gesture.span[1]

    try:
        survives(data.draw(mutated(whole) | st.binary(max_size=400) | LONG_TIMES), read)
    finally:
        file.write_bytes(whole)


LONG_TIMES = st.integers(0, 10_000).map(lambda n: b"class,startTime_usec,endTime_usec\n1,0," + b"9" * n)
