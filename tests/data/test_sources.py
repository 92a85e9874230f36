"""The files that an event data set is prepared from: taken for what they are, and known when they change."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rbp.data import shards
from rbp.data.cifar10_dvs import cifar10_dvs, find
from rbp.data.dvs128_gesture import dvs128_gesture
from rbp.data.dvs128_gesture import find as find_gestures
from rbp.data.sources import fingerprint
from tests.data.event_files import framing, write_cifar10_dvs, write_gesture, write_pairs


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# --- when the files change ----------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", ["train/0.pt", "test/0.pt"])
def test_every_file_counts_also_those_of_one_name(changed: str, tmp_path: Path) -> None:
    write_pairs(tmp_path, n_train=2, n_test=2, T=4, side=16)
    before = fingerprint(find(tmp_path, framing()), tmp_path)
    assert fingerprint(find(tmp_path, framing()), tmp_path) == before
    os.utime(tmp_path / changed, (1, 1))
    assert fingerprint(find(tmp_path, framing()), tmp_path) != before


def test_a_copy_of_the_files_has_the_same_fingerprint(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path / "one", "zips", n=2, n_events=5)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (fingerprint(find(tmp_path / name, framing()), tmp_path / name) for name in ("one", "two"))
    assert one == two


def edit_an_end(folder: Path) -> None:
    """Gestures of user01 end earlier; the file keeps its size and its time."""
    file = folder / "user01_lab_labels.csv"
    stat = file.stat()
    file.write_text(file.read_text().replace("100000\n", "050000\n"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def move_a_session(folder: Path) -> None:
    """From the end of the training list to the beginning of the test list: the order of all stays."""
    (folder / "trials_to_train.txt").write_text("user01_lab.aedat\n")
    (folder / "trials_to_test.txt").write_text("user02_lab.aedat\nuser03_lab.aedat\n")


@pytest.mark.parametrize("change", [edit_an_end, move_a_session])
def test_gestures_cut_or_split_in_another_way_are_prepared_anew(change, tmp_path: Path) -> None:
    write_gesture(tmp_path)
    dvs128_gesture.prepare(tmp_path, framing(size=16))
    before = fingerprint(find_gestures(tmp_path, framing()), tmp_path)
    change(tmp_path / "DvsGesture")
    assert fingerprint(find_gestures(tmp_path, framing()), tmp_path) != before
    dvs128_gesture.prepare(tmp_path, framing(size=16))
    again = dvs128_gesture(str(tmp_path), False, framing(size=16))
    anew = dvs128_gesture(str(tmp_path), False, framing(size=16, prepared=str(tmp_path / "other")))
    for ours, theirs in zip(again, anew, strict=True):
        assert torch.equal(ours.pixels, theirs.pixels) and torch.equal(ours.labels, theirs.labels)


def test_what_was_half_made_of_other_cuts_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gesture(tmp_path)
    whole = shards.make

    def make_one(shard: shards.Shard) -> None:
        if shard.number == 1:
            raise KeyboardInterrupt
        whole(shard)

    monkeypatch.setattr(shards, "make", make_one)
    with pytest.raises(KeyboardInterrupt):
        dvs128_gesture.prepare(tmp_path, framing(size=16), 1)
    monkeypatch.setattr(shards, "make", whole)
    edit_an_end(tmp_path / "DvsGesture")
    resumed, _ = dvs128_gesture(str(tmp_path), False, framing(size=16))
    anew, _ = dvs128_gesture(str(tmp_path), False, framing(size=16, prepared=str(tmp_path / "other")))
    assert np.array_equal(resumed.pixels, anew.pixels)
