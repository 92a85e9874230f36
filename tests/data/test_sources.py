"""The files that an event data set is prepared from: taken for what they are, and known when they change."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbp.data.events.prepare.sources import fingerprint
from rbp.data.events.recordings import natural, read_frames
from rbp.data.events.sets.cifar10_dvs import cifar10_dvs, find
from rbp.data.events.sets.dvs128_gesture import dvs128_gesture
from rbp.data.events.sets.dvs128_gesture import find as find_gestures
from rbp.errors import DataError
from tests.support.event_recordings import (
    framing,
    pair,
    random_events,
    stopped_before,
    write_cifar10_dvs,
    write_gesture,
    write_npz,
    write_pairs,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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
def test_gestures_cut_or_split_in_another_way_are_prepared_anew(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
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
    stopped_before(1, lambda: dvs128_gesture.prepare(tmp_path, framing(size=16), 1), monkeypatch)
    edit_an_end(tmp_path / "DvsGesture")
    resumed, _ = dvs128_gesture(str(tmp_path), False, framing(size=16))
    anew, _ = dvs128_gesture(str(tmp_path), False, framing(size=16, prepared=str(tmp_path / "other")))
    assert torch.equal(resumed.pixels, anew.pixels)


# --- taken for what they are --------------------------------------------------------------------------------


def extract(root: Path, name: str, n: int) -> None:
    """The first n recordings of a class, out of its zip."""
    (root / name).mkdir()
    with zipfile.ZipFile(root / f"{name}.zip") as archive:
        for member in archive.namelist()[:n]:
            archive.extract(member, root)


def test_a_class_both_unpacked_and_in_its_zip_is_refused_by_the_names_of_both(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "zips", n=5, n_events=5)
    extract(tmp_path, "cat", 2)
    with pytest.raises(DataError, match=rf"{tmp_path}/cat and {tmp_path}/cat.zip: .*folder has 2 recordings"):
        find(tmp_path, framing())


def test_an_empty_folder_beside_a_zip_counts_for_nothing(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "zips", n=3, n_events=5)
    before = find(tmp_path, framing())
    extract(tmp_path, "cat", 0)
    (tmp_path / "train").mkdir()
    assert find(tmp_path, framing()) == before


def test_unequal_classes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=3, n_events=10)
    assert find(tmp_path, framing()).note == ""
    (tmp_path / "cat" / "cifar10_cat_1.aedat").unlink()
    cifar10_dvs.prepare(tmp_path, framing())
    told = capsys.readouterr().out.replace("\n", " ")
    assert "unequal numbers of recordings: airplane 3, automobile 3, bird 3, cat 2, deer 3" in told


def test_recordings_named_as_another_class_are_refused(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path / "zips", "zips", n=2, n_events=5)
    shutil.copy(tmp_path / "zips" / "dog.zip", tmp_path / "zips" / "cat.zip")
    with pytest.raises(DataError, match=r"cat.zip: dog/cifar10_dog_0.aedat: is a recording of dog"):
        find(tmp_path / "zips", framing())
    write_cifar10_dvs(tmp_path / "folders", "folders", n=2, n_events=5)
    shutil.copy(tmp_path / "folders" / "dog" / "cifar10_dog_1.aedat", tmp_path / "folders" / "cat")
    with pytest.raises(DataError, match=r"cat/cifar10_dog_1.aedat: .* lies in cat"):
        find(tmp_path / "folders", framing())


def test_one_recording_in_two_forms_is_refused(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=5)
    write_npz(tmp_path / "cat" / "cifar10_cat_0.npz", random_events(9, 0))
    with pytest.raises(DataError, match=r"cat/cifar10_cat_0\..* is there twice"):
        find(tmp_path, framing())


def test_names_of_any_kind(tmp_path: Path) -> None:
    """Upper-case endings are read, what macOS adds is not, superscript digits are no numbers to count by."""
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=5)
    cat = tmp_path / "cat"
    (cat / "cifar10_cat_0.aedat").rename(cat / "cifar10_cat_10.AEDAT")
    shutil.copy(cat / "cifar10_cat_1.aedat", cat / "cifar10_cat_1²2.aedat")
    shutil.copy(cat / "cifar10_cat_1.aedat", cat / f"cifar10_cat_{'9' * 200}.aedat")
    (cat / "._cifar10_cat_1.aedat").write_bytes(b"\0\5\x16\7")
    found = find(tmp_path, framing())
    names = {r.name for r in found.train + found.test if r.name.startswith("cat/")}
    numbers = ["1", "1²2", "10", "9" * 200]
    assert names == {f"cat/cifar10_cat_{number}" for number in numbers}
    assert sorted(numbers[::-1], key=natural) == numbers


@given(st.lists(st.integers(0, 10**30).map(str), unique=True))
def test_names_are_ordered_by_their_numbers(numbers: list[str]) -> None:
    names = [f"cifar10_cat_{number}.aedat" for number in numbers]
    assert sorted(names, key=natural) == [f"cifar10_cat_{n}.aedat" for n in sorted(numbers, key=int)]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"trials_to_test.txt": "user02_lab.aedat\nuser03_lab.aedat\n"},
            "trials_to_train.txt, trials_to_test.txt both list user02_lab.aedat",
        ),
        (
            {"trials_to_train.txt": "user01_lab.aedat\nuser01_lab.aedat\n"},
            "trials_to_train.txt: lists user01_lab.aedat more than once",
        ),
        (
            {"user01_lab_labels.csv": "class,startTime_usec,endTime_usec\n"},
            "user01_lab_labels.csv: has no gestures",
        ),
    ],
)
def test_gestures_listed_twice_or_not_at_all(files: dict[str, str], said: str, tmp_path: Path) -> None:
    write_gesture(tmp_path)
    for name, content in files.items():
        (tmp_path / "DvsGesture" / name).write_text(content)
    with pytest.raises(DataError) as told:
        find_gestures(tmp_path, framing())
    assert said in str(told.value)


# --- files that cannot be read ------------------------------------------------------------------------------


def dangling(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to("/nowhere")


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("spoil", [dangling, a_folder, a_pipe])
def test_a_file_that_is_none_is_named_or_skipped(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=3, n_events=10)
    spoil(tmp_path / "cat" / "cifar10_cat_1.aedat")
    with pytest.raises(DataError, match=r"cat/cifar10_cat_1.aedat: .*dataset.on_error=skip"):
        cifar10_dvs(str(tmp_path), False, framing())
    train, test = cifar10_dvs(str(tmp_path), False, framing(on_error="skip"))
    assert len(train) + len(test) == 29


def test_a_session_of_gestures_that_went_away_is_named(tmp_path: Path) -> None:
    write_gesture(tmp_path)
    gesture = find_gestures(tmp_path, framing()).train[0]
    gesture.file.unlink()
    with pytest.raises(DataError, match=r"user01_lab.aedat: cannot be read: No such file"):
        read_frames(gesture, framing(), 11)


def no_pair(file: Path) -> None:
    file.write_bytes(b"xx")


def a_larger_pair(file: Path) -> None:
    torch.save(pair(int(file.stem), 4, 32), file)


def a_longer_pair(file: Path) -> None:
    torch.save(pair(int(file.stem), 5, 16), file)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("spoil", [dangling, a_folder, no_pair])
def test_a_pair_that_cannot_be_read_is_named_or_skipped(
    spoil: Callable[[Path], None], number: int, tmp_path: Path
) -> None:
    check_that_a_pair_is_named_or_skipped(spoil, number, tmp_path)


@pytest.mark.parametrize("spoil", [a_larger_pair, a_longer_pair])
def test_a_pair_of_another_shape_is_named_or_skipped(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    check_that_a_pair_is_named_or_skipped(spoil, 35, tmp_path)


def check_that_a_pair_is_named_or_skipped(spoil: Callable[[Path], None], number: int, root: Path) -> None:
    write_pairs(root, n_train=40, n_test=10, T=4, side=16)
    spoil(root / "train" / f"{number}.pt")
    for style in ("counts", "paper"):
        with pytest.raises(DataError, match=rf"train/{number}.pt: .*dataset.on_error=skip"):
            cifar10_dvs(str(root), False, framing(style=style))
    train, test = cifar10_dvs(str(root), False, framing(on_error="skip"))
    assert (len(train), len(test)) == (39, 10)


def test_counts_that_are_not_whole_cannot_go_through_images(tmp_path: Path) -> None:
    write_pairs(tmp_path, n_train=3, n_test=2, T=4, side=16)
    frames, label = pair(1, 4, 16)
    torch.save((frames + 0.5, label), tmp_path / "train" / "1.pt")
    with pytest.raises(DataError, match=r"train/1.pt: has counts that are not whole.*frames=paper"):
        cifar10_dvs(str(tmp_path), False, framing(style="paper"))
    train, _ = cifar10_dvs(str(tmp_path), False, framing(size=16))
    assert torch.equal(train.pixels[1] / train.levels, frames + 0.5)
