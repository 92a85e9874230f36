"""Preparation: from files in every form to whole, checked, memory-mapped frames; or a telling error."""

import fcntl
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rbp.cli import main
from rbp.data import load
from rbp.data.events.framing import Framing, framing_of
from rbp.data.events.recordings import Recording
from rbp.data.events.resize import levels, resize_as_published, shrink
from rbp.data.events.sets.cifar10_dvs import CLASSES, cifar10_dvs, find
from rbp.data.events.sets.dvs128_gesture import dvs128_gesture
from rbp.data.events.splitting import split
from rbp.data.images import Images
from rbp.errors import ConfigError, DataError
from tests.support.datasets import dataset_config, in_memory
from tests.support.event_recordings import (
    Events,
    aedat2,
    framing,
    pair,
    slow_count,
    write_cifar10_dvs,
    write_gesture,
    write_pairs,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def manifest(root: Path, how: Framing) -> dict:
    return json.loads((how.folder("cifar10_dvs", root) / "manifest.json").read_text())


def expected(events: Events, how: Framing) -> np.ndarray:
    """Frames as they must reach the network, made event by event."""
    counts = slow_count(events, how.T, how.by, 128)
    if how.style == "paper":
        return resize_as_published(counts, how.size) / np.float32(255)
    return shrink(counts, how.size) / np.float32(levels(128, how.size))


@pytest.mark.parametrize("form", ["zips", "folders", "aedat4", "aedat4 zips", "events_np"])
def test_every_form_of_the_files_gives_the_same_frames_and_split(form: str, tmp_path: Path) -> None:
    how = framing()
    events = write_cifar10_dvs(tmp_path, form)
    train, test = cifar10_dvs(str(tmp_path), False, how)
    said = manifest(tmp_path, how)["parts"]
    assert (len(train), len(test)) == (90, 10)
    assert test.labels.tolist() == list(range(10))  # one of ten a class
    names = {part: [name for name, _ in said[part]["recordings"]] for part in said}
    assert sorted(names["train"] + names["test"]) == sorted(events)
    for part, images in (("train", train), ("test", test)):
        assert images.pixels.dtype == torch.int16 and images.pixels.shape[1:] == (4, 2, 48, 48)
        for row in range(0, len(images), 9):
            name = names[part][row]
            assert CLASSES[int(images.labels[row])] == name.split("/")[0]
            frames = images.pixels[row].numpy() / np.float32(images.levels)
            assert np.array_equal(frames, expected(events[name], how))
    # The split of these names at seed 0, whatever the form of the files.
    numbers = [int(name.rsplit("_", 1)[1]) for name in names["test"]]
    assert numbers == SPLIT_AT_SEED_0


SPLIT_AT_SEED_0 = [6, 3, 3, 6, 9, 1, 5, 7, 8, 7]


@pytest.mark.parametrize(
    "changed",
    [{"T": 1}, {"T": 16}, {"by": "time"}, {"size": 32}, {"size": 128}, {"style": "paper"}],
    ids=str,
)
def test_every_framing_is_made_and_kept_apart(changed: dict, tmp_path: Path) -> None:
    events = write_cifar10_dvs(tmp_path, "folders", n=2, n_events=60)
    for how in (framing(), framing(**changed)):
        train, _ = cifar10_dvs(str(tmp_path), False, how)
        name, _ = manifest(tmp_path, how)["parts"]["train"]["recordings"][3]
        frames = train.pixels[3].numpy() / np.float32(train.levels)
        assert np.array_equal(frames, expected(events[name], how))
    assert len(list((tmp_path / "prepared").glob("cifar10_dvs-*"))) == 2


def recordings(n: int) -> list[Recording]:
    return [Recording(f"{label}/{i}", "aedat2", Path("x"), label) for label in range(10) for i in range(n)]


def test_the_split_is_nine_to_one_in_every_class_and_has_a_seed_of_its_own() -> None:
    parts = [split(recordings(100), seed, "cifar10_dvs") for seed in (0, 0, 1)]
    for train, test in parts:
        assert sorted(r.name for r in train + test) == sorted(r.name for r in recordings(100))
        assert [sum(r.label == k for r in test) for k in range(10)] == [10] * 10
    first, again, other = ([r.name for r in test] for _, test in parts)
    assert first == again != other
    train, test = split(recordings(1), 0, "x")
    assert len(train) == 10 and not test  # a single recording is for training


# --- pairs and gestures -------------------------------------------------------------------------------------


def test_published_pairs_are_read_with_their_own_split(tmp_path: Path) -> None:
    write_pairs(tmp_path, n_train=12, n_test=3)
    train, test = cifar10_dvs(str(tmp_path), False, framing(T=10))
    assert (len(train), len(test)) == (12, 3) and train.labels.tolist() == [*range(10), 0, 1]
    for number in (0, 11):
        frames, _ = pair(number)
        made = train.pixels[number].numpy() / np.float32(train.levels)
        assert np.array_equal(made, shrink(frames.numpy(), 48) / np.float32(64))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"T": 8}, r"T=8 .*made already, 10 a recording by number; set T=10"),
        ({"T": 10, "by": "time"}, r"dataset.frames_by=time"),
        ({"T": 10, "split_seed": 3}, r"dataset.split_seed=3: .* a split of their own"),
    ],
)
def test_another_T_or_split_of_published_pairs_is_refused(changed: dict, said: str, tmp_path: Path) -> None:
    write_pairs(tmp_path, n_train=2, n_test=1)
    with pytest.raises(DataError, match=said):
        cifar10_dvs(str(tmp_path), False, framing(**changed))


def test_a_pair_that_is_missing_or_has_a_wrong_label(tmp_path: Path) -> None:
    write_pairs(tmp_path, n_train=4, n_test=2)
    torch.save((pair(1)[0], 10), tmp_path / "train" / "2.pt")
    with pytest.raises(DataError, match=r"train/2.pt: has the label 10"):
        cifar10_dvs(str(tmp_path), False, framing(T=10))
    (tmp_path / "train" / "2.pt").unlink()
    with pytest.raises(DataError, match=r"has 3 files .pt but not 2.pt"):
        cifar10_dvs(str(tmp_path), False, framing(T=10))


def test_gestures_are_cut_out_by_their_label_files(tmp_path: Path) -> None:
    sessions = write_gesture(tmp_path)
    how = framing(by="time")
    train, test = dvs128_gesture(str(tmp_path), False, how)
    assert train.labels.tolist() == [*range(11)] * 2 and test.labels.tolist() == [*range(11)]
    events, spans = sessions["user02_lab"]
    for row, (number, start, end) in enumerate(spans, 11):
        own = [event for event in events if start <= event[0] < end]
        frames = train.pixels[row].numpy() / np.float32(64)
        assert np.array_equal(frames, expected(own, how)), number


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("user01_lab_labels.csv", "a,b\n1,2,3\n", "begins with 'a,b', not class,startTime"),
        ("user01_lab_labels.csv", "class,startTime_usec,endTime_usec\n12,2,3\n", "has a class 12"),
        ("user01_lab_labels.csv", "class,startTime_usec,endTime_usec\n1,2\n", "has the line '1,2'"),
        ("user01_lab_labels.csv", "class,startTime_usec,endTime_usec\n1,9,3\n", "a gesture from 9 to 3"),
        ("trials_to_train.txt", "user09_lab.aedat\n", "incomplete, missing: user09_lab.aedat"),
        ("trials_to_train.txt", "", "lists no recordings"),
    ],
)
def test_broken_label_files_and_lists_of_gestures(file: str, content: str, said: str, tmp_path: Path) -> None:
    write_gesture(tmp_path, users=2)
    (tmp_path / "DvsGesture" / file).write_text(content)
    with pytest.raises(DataError) as told:
        dvs128_gesture(str(tmp_path), False, framing())
    assert said in str(told.value)


# --- bad input ----------------------------------------------------------------------------------------------


def test_nothing_there_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"CIFAR10-DVS is not there.*events_np.*airplane.zip"):
        cifar10_dvs(str(tmp_path / "nowhere"), False, framing())
    with pytest.raises(DataError, match=r"DVS128 Gesture is not there.*trials_to_train.txt"):
        dvs128_gesture(str(tmp_path), False, framing())
    with pytest.raises(ConfigError, match=r"dataset.download=true"):
        cifar10_dvs(str(tmp_path), True, framing())


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_class_that_is_missing_is_never_left_out(on_error: str, tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "zips", n=2, n_events=20)
    (tmp_path / "frog.zip").unlink()
    with pytest.raises(DataError, match=r"incomplete, missing the classes frog"):
        cifar10_dvs(str(tmp_path), False, framing(on_error=on_error))


BROKEN = {
    "truncated": aedat2([(1, 2, 3, 0), (2, 3, 4, 1)])[:-3],
    "wrong header": b"#!AER-DAT1.0\r\n" + bytes(16),
    "time goes back": aedat2([(5, 2, 3, 0), (2, 3, 4, 1)]),
    "off the sensor": aedat2([(5, 2, 3, 0)])[:-8] + bytes([0, 0, 255, 255, 0, 0, 0, 1]),
    "empty": b"",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_recording_is_named_or_skipped_and_listed(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=3, n_events=30)
    file = tmp_path / "cat" / "cifar10_cat_1.aedat"
    file.write_bytes(BROKEN[what])
    with pytest.raises(DataError, match=r"cat/cifar10_cat_1.aedat: .*dataset.on_error=skip"):
        cifar10_dvs(str(tmp_path), False, framing())
    assert not list((tmp_path / "prepared").glob("cifar10_dvs-*"))
    skipping = framing(on_error="skip")
    train, test = cifar10_dvs(str(tmp_path), False, skipping)
    assert len(train) + len(test) == 29
    (entry,) = manifest(tmp_path, skipping)["skipped"]
    assert entry["recording"] == "cat/cifar10_cat_1" and str(file) in entry["why"]
    told = capsys.readouterr().out
    assert "skipped 1" in told and str(file) in told
    # What was made with a recording left out is not taken for the whole set.
    with pytest.raises(DataError, match=r"prepared with dataset.on_error=skip and lacks 1 skipped"):
        cifar10_dvs(str(tmp_path), False, framing())


def test_a_broken_zip_is_named_and_so_is_a_broken_file_in_one(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "zips", n=15, n_events=100)  # with two of each class for testing
    file = tmp_path / "ship.zip"
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes(20) + whole[220:])
    with pytest.raises(DataError, match=r"ship.zip: ship/cifar10_ship_0.aedat: cannot be unpacked"):
        cifar10_dvs(str(tmp_path), False, framing())
    train, test = cifar10_dvs(str(tmp_path), False, framing(on_error="skip"))
    assert len(train) + len(test) == 149
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"ship.zip: is no whole zip archive"):
        find(tmp_path, framing())


def test_no_recording_left_is_an_error_also_when_skipping(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=5)
    for file in tmp_path.rglob("*.aedat"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="no recording"):
        cifar10_dvs(str(tmp_path), False, framing(on_error="skip"))


@pytest.mark.parametrize("part", ["train", "test"])
def test_skipping_never_leaves_out_a_class_of_a_split(part: str, tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=3, n_events=10)
    found = find(tmp_path, framing())
    cats = [recording for recording in getattr(found, part) if recording.label == 3]
    for recording in cats:
        recording.file.write_bytes(b"")
    with pytest.raises(DataError, match=rf"no recording of class 3 is left in the {part} split") as told:
        cifar10_dvs(str(tmp_path), False, framing(on_error="skip"))
    assert f"skipped {len(cats)}, first {cats[0].file}: is empty" in str(told.value)
    assert not list((tmp_path / "prepared").glob("cifar10_dvs-*"))


def test_skipping_pairs_never_leaves_out_a_class(tmp_path: Path) -> None:
    write_pairs(tmp_path, n_train=20, n_test=10, T=4, side=16)
    (tmp_path / "test" / "7.pt").write_bytes(b"")
    with pytest.raises(DataError, match=r"no recording of class 7 is left in the test split.*test/7.pt"):
        cifar10_dvs(str(tmp_path), False, framing(on_error="skip"))


def test_two_preparations_at_once_the_second_is_refused(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=20)
    folder = framing().folder("cifar10_dvs", tmp_path)
    folder.parent.mkdir()
    with (folder.parent / f".building-{folder.name}.lock").open("w") as lock:
        lock.write("pid 12345")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another process prepares these frames \(pid 12345\)"):
            cifar10_dvs(str(tmp_path), False, framing())
    cifar10_dvs(str(tmp_path), False, framing())


# --- the command, and the way into training -----------------------------------------------------------------


def test_the_command_prepares_every_T_of_a_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cifar10_dvs(tmp_path, "zips", n=2, n_events=40)
    line = ["data", "prepare", "cifar10_dvs", f"dataset.root={tmp_path}"]
    assert main([*line, "T=2,4"]) == 0
    told = capsys.readouterr().out
    assert told.count("10 training and 10 test recordings, 800 events") == 2
    assert main([*line]) == 0 and "cifar10_dvs-T10-number-48" in capsys.readouterr().out
    assert main(["data", "prepare", "digits"]) == 0
    assert "needs no preparation" in capsys.readouterr().out
    assert main(["data", "prepare", "nothing"]) == 2 and "nothing" in capsys.readouterr().err


def test_load_gives_frames_of_the_group_with_a_validation_set(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=10, n_events=20)
    cfg = dataset_config("cifar10_dvs", root=tmp_path, T=4, val_split=0.2)
    how = framing_of(cfg)
    assert how == replace(framing(), prepared=None)
    parts = load(cfg)
    assert parts.val is not None
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [72, 18, 10]
    assert in_memory(parts.val).levels == in_memory(parts.test).levels == 64
    cfg.size = 32  # another framing is prepared, not refused
    assert in_memory(load(cfg).test).pixels.shape == (10, 4, 2, 32, 32)


@pytest.mark.parametrize("key", ["frames", "frames_by", "split_seed", "on_error"])
def test_events_without_a_framing_are_refused(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=rf"dataset.{key}=null: dataset=digits_dvs has events"):
        load(dataset_config("digits_dvs", T=4, **{key: None}))
    assert main(["data", "prepare", "cifar10_dvs", f"dataset.{key}=null"]) == 2
    assert f"dataset.{key}=null" in capsys.readouterr().err


def test_a_root_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10_dvs(tmp_path / "x" / "cifar10_dvs", "folders", n=2, n_events=20)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load(dataset_config("cifar10_dvs", root="~/x/cifar10_dvs", T=4)).train) == 10
    monkeypatch.setenv("RBP_DATA", "~/x")
    assert len(load(dataset_config("cifar10_dvs", T=2)).train) == 10


def short_frames(root: str, download: bool, how: Framing) -> tuple[Images, Images]:
    """A reader that gives one frame too few."""
    images = Images(torch.zeros(20, how.T - 1, 2, 48, 48), torch.arange(20) % 10, 1)
    return images, images


def test_a_reader_must_give_T_frames() -> None:
    cfg = dataset_config("cifar10_dvs", root="x", T=4, _target_=f"{__name__}.short_frames")
    with pytest.raises(ConfigError, match=r"must be numbers \[N, 4, C, H, W\], not .*\(20, 3, 2, 48, 48\)"):
        load(cfg)
