"""N-MNIST from files as they are distributed: byte for byte, in the official split; errors name the file."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rbp.cli import main
from rbp.data import load
from rbp.data.events.readers.nmnist import read_nmnist
from rbp.data.events.sets.nmnist import find, nmnist
from rbp.errors import DataError
from tests.support.datasets import dataset_config, in_memory
from tests.support.event_recordings import framing, pack_nmnist, slow_count, write_nmnist

pytestmark = pytest.mark.usefixtures("one_thread")

HOW = framing(size=34)


def test_an_example_byte_by_byte() -> None:
    content = bytes([
        33,   0, 0b1_0000001, 0x86, 0xA0,  # x=33 y=0, brighter, at 0x0186A0 = 100,000 us
         0,  33, 0b0_0000001, 0x86, 0xA1,  # x=0 y=33, darker, a microsecond later
         7, 240, 0b0_0000000, 0x00, 0x00,  # the clock has overflown: 8,192 us more from here on
        12,   5, 0b1_0000001, 0x86, 0xA1,
         7, 240, 0b1_1111111, 0xFF, 0xFF,  # and again, whatever else the row holds
         7, 240, 0b0_0000000, 0x00, 0x00,
        12,   6, 0b0_1111111, 0xFF, 0xFF,  # the largest time of 23 bits
    ])  # fmt: skip
    events = read_nmnist(content, "FILE")
    assert [values.tolist() for values in events.xyp()] == [[33, 0, 12, 12], [0, 33, 5, 6], [1, 0, 1, 0]]
    assert events.t.tolist() == [100_000, 100_001, 108_193, 8_388_607 + 3 * 8_192]
    assert events.side == 34


EVENT = bytes([1, 2, 0x80, 0, 9])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (EVENT * 3 + b"\1\2", "is cut short: 2 bytes are left over"),
        (EVENT + bytes([34, 2, 0, 0, 9]), "event 1 has x=34; must be from 0 to 33"),
        (EVENT + bytes([2, 180, 0, 0, 9]), "event 1 has y=180; must be from 0 to 33"),
        (EVENT + bytes([1, 2, 0x80, 0, 8]), "time goes back after event 0: from 9 to 8 microseconds"),
        (bytes([0, 240, 0, 0, 0]) * 4, "has no events"),
    ],
)
def test_a_broken_recording_is_named_or_skipped(content: bytes, said: str, tmp_path: Path) -> None:
    write_nmnist(tmp_path, "folders")
    file = tmp_path / "Train" / "3" / "00013.bin"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"Train/3/00013.bin: .*dataset.on_error=skip") as told:
        nmnist(str(tmp_path), False, HOW)
    assert said in str(told.value)
    train, test = nmnist(str(tmp_path), False, framing(size=34, on_error="skip"))
    assert (len(train), len(test)) == (19, 10)


@pytest.mark.parametrize("form", ["folders", "zips"])
def test_every_form_gives_the_frames_of_the_official_split(form: str, tmp_path: Path) -> None:
    events = write_nmnist(tmp_path, form)
    train, test = nmnist(str(tmp_path), False, HOW)
    said = json.loads((HOW.folder("nmnist", tmp_path) / "manifest.json").read_text())["parts"]
    assert train.labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert test.labels.tolist() == [*range(10)]
    for part, images in (("train", train), ("test", test)):
        assert images.pixels.shape[1:] == (4, 2, 34, 34) and images.levels == 1
        for row, (name, label) in enumerate(said[part]["recordings"]):
            assert name.startswith(f"{part.capitalize()}/{label}/")
            assert np.array_equal(images.pixels[row].numpy(), slow_count(events[name], 4, "number", 34))


def test_the_folders_of_tonic_and_a_zip_that_stayed_beside_them(tmp_path: Path) -> None:
    root = tmp_path / "NMNIST"
    write_nmnist(root, "folders")
    for part in ("Train", "Test"):
        pack_nmnist(root, part)
        (root / f"{part}.zip").rename(root / f"{part.lower()}.zip")
    found = find(tmp_path, HOW)
    assert (len(found.train), len(found.test)) == (20, 10)
    assert {recording.member for recording in found.train} == {None}
    (root / "Train" / "3" / "00013.bin").unlink()
    with pytest.raises(
        DataError, match=r"Train and .*train.zip: .* 19 recordings unpacked and 20 in the zip"
    ):
        find(tmp_path, HOW)


def test_the_official_number_of_recordings_is_held_against_what_is_there(tmp_path: Path) -> None:
    write_nmnist(tmp_path, "zips")
    note = "N-MNIST has 60,000 recordings in Train and 10,000 in Test; here are 20 in Train and 10 in Test."
    assert find(tmp_path, HOW).note == note
    for part, n in {"Train": 60_000, "Test": 10_000}.items():
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as archive:
            for number in range(n):
                archive.writestr(f"{part}/{number % 10}/{number:05}.bin", b"")
    found = find(tmp_path, HOW)
    assert (len(found.train), len(found.test), found.note) == (60_000, 10_000, "")


def no_test(root: Path) -> None:
    shutil.rmtree(root / "Test")


def no_fours(root: Path) -> None:
    shutil.rmtree(root / "Train" / "4")


def two_zips(root: Path) -> None:
    for name in ("Train.zip", "train.zip"):
        zipfile.ZipFile(root / name, "w").close()


def one_twice(root: Path) -> None:
    shutil.copy(root / "Train" / "3" / "00013.bin", root / "Train" / "3" / "00013.BIN")


def a_zip_of_the_other_part(root: Path) -> None:
    pack_nmnist(root, "Test")
    (root / "Test.zip").rename(root / "Train.zip")
    shutil.rmtree(root / "Train")


def half_a_zip(root: Path) -> None:
    pack_nmnist(root, "Train")
    shutil.rmtree(root / "Train")
    (root / "Train.zip").write_bytes((root / "Train.zip").read_bytes()[:2000])


def nothing(root: Path) -> None:
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_test, "N-MNIST is incomplete, missing: Test as a whole"),
        (no_fours, "N-MNIST is incomplete, missing: Train the digits 4"),
        (two_zips, "has Train.zip and train.zip; move one away"),
        (one_twice, "Train/3/00013.bin: is there twice; {root}/Train/3/00013.BIN is the same recording"),
        (a_zip_of_the_other_part, "Train.zip: Test/0/00010.bin: must lie in one of Train/0 ... Train/9"),
        (half_a_zip, "Train.zip: is no whole zip archive"),
        (nothing, "N-MNIST is not there. Expected in it"),
    ],
)
def test_what_is_not_the_set_is_refused(spoil: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    root = tmp_path / "nmnist"
    write_nmnist(root, "folders", n_events=5)
    spoil(root)
    with pytest.raises(DataError) as told:
        nmnist(str(root), False, framing(size=34, on_error="skip"))
    assert said.format(root=root) in str(told.value)


def test_the_split_has_no_seed(tmp_path: Path) -> None:
    write_nmnist(tmp_path, "folders", n_events=5)
    with pytest.raises(DataError, match=r"dataset.split_seed=3: .* a split of their own"):
        find(tmp_path, framing(split_seed=3))


def test_the_command_prepares_what_the_group_trains_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_nmnist(tmp_path, "zips")
    assert main(["data", "prepare", "nmnist", f"dataset.root={tmp_path}", "T=3"]) == 0
    told = capsys.readouterr().out.replace("\n", " ")
    assert "here are 20 in Train and 10 in Test" in told
    assert "20 training and 10 test recordings, 1,800 events" in told
    parts = load(dataset_config("nmnist", root=tmp_path, T=3))
    assert in_memory(parts.train).pixels.shape == (20, 3, 2, 34, 34)
    assert "is not prepared" not in capsys.readouterr().out
