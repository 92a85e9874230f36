"""Preparation: from files in every form to whole, checked, memory-mapped frames; or a telling error."""

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rbp.cli import main
from rbp.data import load, shards
from rbp.data.cifar10_dvs import CLASSES, cifar10_dvs, find
from rbp.data.dvs128_gesture import dvs128_gesture
from rbp.data.framing import Framing, framing_of
from rbp.data.images import Images
from rbp.data.recordings import Recording
from rbp.data.resize import levels, shrink, through_images
from rbp.data.splitting import split
from rbp.errors import ConfigError, DataError
from rbp.sweep.places import ROOT
from tests.data.event_files import (
    Events,
    aedat2,
    framing,
    pair,
    write_cifar10_dvs,
    write_gesture,
    write_pairs,
)
from tests.data.files import dataset_config
from tests.data.test_frames import slow_count


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def manifest(root: Path, how: Framing) -> dict:
    return json.loads((how.folder("cifar10_dvs", root) / "manifest.json").read_text())


def expected(events: Events, how: Framing) -> np.ndarray:
    """Frames as they must reach the network, made event by event."""
    counts = slow_count(events, how.T, how.by, 128)
    if how.style == "paper":
        return through_images(counts, how.size) / np.float32(255)
    return shrink(counts, how.size) / np.float32(levels(128, how.size))


@pytest.mark.parametrize("form", ["zips", "folders", "events_np"])
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
    write_cifar10_dvs(tmp_path, "zips", n=2, n_events=100)
    file = tmp_path / "ship.zip"
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes(20) + whole[220:])
    with pytest.raises(DataError, match=r"ship.zip: ship/cifar10_ship_0.aedat: cannot be unpacked"):
        cifar10_dvs(str(tmp_path), False, framing())
    train, test = cifar10_dvs(str(tmp_path), False, framing(on_error="skip"))
    assert len(train) + len(test) == 19
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
def test_prepared_frames_that_were_changed_are_refused(part: str, tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=20)
    cifar10_dvs(str(tmp_path), False, framing())
    file = framing().folder("cifar10_dvs", tmp_path) / f"{part}.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"{part}.npy: is not what was prepared.*delete"):
        cifar10_dvs(str(tmp_path), False, framing())
    file.write_bytes(content[:-100])
    with pytest.raises(DataError, match=rf"{part}.npy: is not what was prepared"):
        cifar10_dvs(str(tmp_path), False, framing())


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=20)
    cifar10_dvs(str(tmp_path), False, framing())
    file = framing().folder("cifar10_dvs", tmp_path) / "manifest.json"
    whole = file.read_text()
    for content in ("", "{}", whole[:-100], whole.replace('"T": 4', '"T": 5')):
        file.write_text(content)
        with pytest.raises(DataError, match=r"manifest.json: is damaged, or of other frames; delete"):
            cifar10_dvs(str(tmp_path), False, framing())


def test_prepared_frames_alone_are_enough_and_changed_files_are_prepared_anew_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=3, n_events=20)
    before, _ = cifar10_dvs(str(tmp_path), False, framing())
    cifar10_dvs.prepare(tmp_path, framing())
    assert "is prepared already" in capsys.readouterr().out
    for file in tmp_path.glob("*/*_0.aedat"):
        file.unlink()
    assert torch.equal(cifar10_dvs(str(tmp_path), False, framing())[0].pixels, before.pixels)
    cifar10_dvs.prepare(tmp_path, framing())
    after, _ = cifar10_dvs(str(tmp_path), False, framing())
    assert len(before) == 20 and len(after) == 10


def test_two_preparations_at_once_the_second_is_refused(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=20)
    folder = framing().folder("cifar10_dvs", tmp_path)
    folder.parent.mkdir()
    with (folder.parent / f".building-{folder.name}.lock").open("w") as lock:
        lock.write("12345")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another process prepares these frames \(pid 12345\)"):
            cifar10_dvs(str(tmp_path), False, framing())
    cifar10_dvs(str(tmp_path), False, framing())


# --- killed, and disks that fill ----------------------------------------------------------------------------


def prepare_elsewhere(root: Path, *more: str, **keys: object) -> subprocess.Popen[str]:
    program = "import sys; from rbp.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "data", "prepare", "cifar10_dvs", f"dataset.root={root}", "T=4"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **keys,  # type: ignore[call-overload]
    )


def test_a_killed_preparation_goes_on_where_it_was_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "RECORDINGS", 5)
    write_cifar10_dvs(tmp_path, "folders", n=5, n_events=30)
    made: list[int] = []

    def make(shard: shards.Shard) -> None:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(shard.number)
        whole(shard)

    whole = shards.make
    monkeypatch.setattr(shards, "make", make)
    with pytest.raises(KeyboardInterrupt):
        cifar10_dvs(str(tmp_path), False, framing())
    made.clear()
    monkeypatch.setattr(shards, "make", lambda shard: (made.append(shard.number), whole(shard)))
    resumed, _ = cifar10_dvs(str(tmp_path), False, framing())
    assert made == list(range(4, 10))
    anew, _ = cifar10_dvs(str(tmp_path), False, framing(prepared=str(tmp_path / "other")))
    assert torch.equal(resumed.pixels, anew.pixels) and torch.equal(resumed.labels, anew.labels)
    assert not list((tmp_path / "prepared").glob(".building-*/*"))


def test_a_preparation_killed_at_any_moment_leaves_no_half_of_a_set_and_no_process(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=60, n_events=10)
    building = tmp_path / "prepared" / f".building-{framing().folder('cifar10_dvs', tmp_path).name}"
    process = prepare_elsewhere(tmp_path, "--workers", "2")
    deadline = time.monotonic() + 120
    while not list(building.glob("0*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not framing().folder("cifar10_dvs", tmp_path).exists() or process.returncode == 0
    while [pid for pid in children if _alive(pid)] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if _alive(pid)]
    train, test = cifar10_dvs(str(tmp_path), False, framing())
    assert (len(train), len(test)) == (540, 60)


def _children(pid: int) -> list[int]:
    return [
        int(child.name) for child in Path("/proc").glob("[0-9]*") if _state(int(child.name))[1] == str(pid)
    ]


def _alive(pid: int) -> bool:
    return _state(pid)[0] not in ("", "Z")


def _state(pid: int) -> tuple[str, str]:
    """State and parent of a process, by Linux; empty if there is none."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return state, parent
    except OSError:
        return "", ""


@pytest.mark.parametrize("limit", [3_000, 150_000])
def test_a_disk_that_fills_is_told_and_leaves_nothing_taken_for_whole(limit: int, tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=10)

    def small_disk() -> None:  # a file may not grow over the limit: what a full disk does to one
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = prepare_elsewhere(tmp_path, preexec_fn=small_disk)
    _, told = process.communicate()
    assert process.returncode == 2 and "Traceback" not in told
    assert "cannot be written: File too large" in told and str(tmp_path / "prepared") in told
    assert not framing().folder("cifar10_dvs", tmp_path).exists()
    assert len(cifar10_dvs(str(tmp_path), False, framing())[0]) == 10


def test_a_root_that_cannot_be_written_needs_another_folder_for_the_frames(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=10)
    (tmp_path / "prepared").touch()  # a file in the way
    with pytest.raises(DataError, match=r"cannot be written.*dataset.prepared=PATH"):
        cifar10_dvs(str(tmp_path), False, framing())
    assert len(cifar10_dvs(str(tmp_path), False, framing(prepared=str(tmp_path / "there")))[0]) == 10


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
    assert parts.val.levels == parts.test.levels == 64
    cfg.size = 32  # another framing is prepared, not refused
    assert load(cfg).test.pixels.shape == (10, 4, 2, 32, 32)


def short_frames(root: str, download: bool, how: Framing) -> tuple[Images, Images]:
    """A reader that gives one frame too few."""
    images = Images(torch.zeros(20, how.T - 1, 2, 48, 48), torch.arange(20) % 10, 1)
    return images, images


def test_a_reader_must_give_T_frames() -> None:
    cfg = dataset_config("cifar10_dvs", root="x", T=4, _target_=f"{__name__}.short_frames")
    with pytest.raises(ConfigError, match=r"must be numbers \[N, 4, C, H, W\], not .*\(20, 3, 2, 48, 48\)"):
        load(cfg)
