"""Image files: views against torchvision's, batches that seed, epoch and file alone decide, and the index."""

import dataclasses
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.datasets import ImageFolder

from rbp.bench.reading_speed import seconds_per_image
from rbp.cli import main
from rbp.config.composition.places import ROOT
from rbp.cores import usable_cores
from rbp.data import ImageFiles, Splits, eval_batches, load, train_batches
from rbp.data.image_files.batches import training_pixels
from rbp.data.image_files.crops import random_crop
from rbp.data.image_files.decode import centre_view, random_view
from rbp.data.image_files.imagenet import imagenet
from rbp.data.image_files.settings import FileSettings, file_settings_of
from rbp.data.image_files.workers import in_workers
from rbp.errors import ConfigError, DataError
from rbp.train.ranks import Ranks
from tests.support.datasets import dataset_config
from tests.support.image_files import CLASSES, encoded, photograph, write_imagenet, write_tars

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small ImageNet; not to be changed."""
    return write_imagenet(tmp_path_factory.mktemp("imagenet"))


def config(root: Path, **keys: Any) -> Any:
    return dataset_config("imagenet", root=root, **({"classes": 4, "size": 32, "short_side": 36} | keys))


def settings_of(root: Path, **keys: Any) -> FileSettings:
    settings = file_settings_of(config(root, **keys))
    assert settings is not None
    return settings


def read(root: Path, **keys: Any) -> Splits:
    return load(config(root, **keys))


# --- views --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(500, 375), (64, 80), (900, 30), (17, 400)])
def test_random_parts_are_torchvisions_for_the_same_random_numbers(width: int, height: int) -> None:
    image, chosen = Image.new("RGB", (width, height)), set()
    for seed in range(200):
        torch.manual_seed(seed)
        top, left, h, w = transforms.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
        crop = random_crop(width, height, 0.08, torch.Generator().manual_seed(seed))
        assert (crop.left, crop.top, crop.width, crop.height) == (left, top, w, h)
        chosen.add(crop)
    assert len(chosen) > 1 or width / height > 10 or height / width > 10


def levels_off(ours: Tensor, theirs: Tensor) -> tuple[int, float]:
    """The largest and the mean difference of two images, in levels of 0 to 255."""
    off = (ours.int() - theirs.int()).abs()
    return int(off.max()), float(off.float().mean())


def test_views_are_torchvisions_for_the_same_random_numbers_but_for_rounding(root: Path) -> None:
    """Of all kinds of files; none is so large that it is decoded at a reduced scale."""
    usual = transforms.Compose(
        [transforms.RandomResizedCrop(180), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )
    middle = transforms.Compose([transforms.Resize(40), transforms.CenterCrop(32), transforms.PILToTensor()])
    folder, kinds = ImageFolder(str(root / "train")), set()
    for number, (file, _) in enumerate(folder.samples):
        with Image.open(file) as image:
            kinds.add((image.format, image.mode))
        whole, _ = folder[number]
        torch.manual_seed(number)
        ours = random_view(Path(file), 180, 0.08, True, torch.Generator().manual_seed(number))
        for a, b in ((ours, usual(whole)), (centre_view(Path(file), 32, 40), middle(whole))):
            assert a.dtype == torch.uint8 and a.shape == b.shape and levels_off(a, b)[0] <= 2
    assert kinds == {("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB")}


def test_at_a_reduced_scale_of_decoding_the_same_part_is_shown(tmp_path: Path) -> None:
    """Below 2 levels in the mean, as the filter is another; the same shifted by a pixel is off by 8."""
    file, crops = tmp_path / "large.jpg", transforms.RandomResizedCrop(72)
    photograph(0).save(file, quality=92)
    for seed in range(30):
        torch.manual_seed(seed)
        with Image.open(file) as image:
            theirs = transforms.functional.pil_to_tensor(crops(image.convert("RGB")))
        ours = random_view(file, 72, 0.08, False, torch.Generator().manual_seed(seed))
        assert levels_off(ours, theirs)[1] < 2


# --- batches ------------------------------------------------------------------------------------------------


def epoch_of(images: Any, cfg: Any, **changed: Any) -> list[tuple[Tensor, Tensor]]:
    settings: dict[str, Any] = {"batch_size": 10, "seed": 0, "epoch": 0} | changed
    return list(train_batches(images, cfg, **settings))


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) and torch.equal(y, z) for (a, y), (b, z) in zip(one, other, strict=True)
    )


def test_files_and_labels_are_those_of_torchvisions_image_folder(root: Path) -> None:
    parts = read(root, workers=0)
    for part, images in (("train", parts.train), ("val", parts.test)):
        assert isinstance(images, ImageFiles)
        found = [(str(images.path(n)), label) for n, label in enumerate(images.labels.tolist())]
        assert found == ImageFolder(str(root / part)).samples
    assert (len(parts.train), len(parts.test)) == (32, 24)


def test_batches_are_the_same_with_any_number_of_workers_and_from_any_batch_on(root: Path) -> None:
    cfg, before = config(root), torch.get_rng_state()
    alone = epoch_of(read(root, workers=0).train, cfg)
    assert [len(y) for _, y in alone] == [10, 10, 10, 2] and alone[0][0].shape == (10, 3, 32, 32)
    images = read(root, workers=2).train
    assert same(epoch_of(images, cfg), alone)
    assert same(epoch_of(images, cfg, start=2), alone[2:])
    assert same(epoch_of(images, cfg, epoch=1), epoch_of(read(root, workers=1).train, cfg, epoch=1))
    assert torch.equal(torch.get_rng_state(), before)  # dropout goes on as without workers
    for changed in ({"epoch": 1}, {"seed": 1}):
        assert not torch.equal(epoch_of(images, cfg, **changed)[0][0], alone[0][0])


def test_an_image_has_a_random_stream_of_its_own(root: Path) -> None:
    """Whatever the batch size, an image is the same one in an epoch."""
    images, cfg = read(root, workers=0).train, config(root)
    tens = torch.cat([x for x, _ in epoch_of(images, cfg)])
    fours = torch.cat([x for x, _ in epoch_of(images, cfg, batch_size=4)])
    assert torch.equal(tens, fours)


@pytest.mark.parametrize("parts", [1, 2])
def test_shares_of_ranks_are_disjoint_and_complete(root: Path, parts: int) -> None:
    images, cfg = read(root, workers=0).train, config(root)
    whole = epoch_of(images, cfg, batch_size=8)
    shares = []
    for rank in range(2):
        wanted = [Ranks(rank, 2).share(torch.arange(len(y)), parts) for _, y in whole]
        shares.append((wanted, epoch_of(images, cfg, batch_size=8, wanted=wanted)))
    for number, (x, y) in enumerate(whole):
        places = torch.cat([wanted[number] for wanted, _ in shares])
        assert sorted(places.tolist()) == list(range(len(y)))
        assert torch.equal(torch.cat([share[number][0] for _, share in shares]), x[places])
        assert torch.equal(torch.cat([share[number][1] for _, share in shares]), y[places])


def test_evaluation_has_every_image_once_and_normalised(root: Path) -> None:
    cfg, test = config(root), read(root, workers=2).test
    batches = list(eval_batches(test, cfg, batch_size=9))
    assert torch.equal(torch.cat([y for _, y in batches]), test.labels)
    assert isinstance(test, ImageFiles)
    mean, std = (torch.tensor(list(cfg[key]))[:, None, None] for key in ("mean", "std"))
    expected = torch.stack([centre_view(test.path(n), 32, 36) for n in range(24)]) / 255
    torch.testing.assert_close(torch.cat([x for x, _ in batches]), (expected - mean) / std)
    some = list(eval_batches(test, cfg, batch_size=9, numbers=range(1, 3)))
    assert same(some, batches[1:])


def test_validation_images_are_held_out_and_shown_whole(root: Path) -> None:
    parts = read(root, val_split=0.25, workers=0)
    assert isinstance(parts.train, ImageFiles) and isinstance(parts.val, ImageFiles)
    assert torch.bincount(parts.val.labels).tolist() == [2, 2, 2, 2]
    numbers = torch.cat([parts.train.numbers, parts.val.numbers])
    assert sorted(numbers.tolist()) == list(range(32))
    x, _ = next(eval_batches(parts.val, config(root, mean=[0, 0, 0], std=[1, 1, 1]), batch_size=8))
    expected = [centre_view(parts.val.path(n), 32, 36) for n in parts.val.numbers.tolist()]
    torch.testing.assert_close(x, torch.stack(expected) / 255)


def test_without_random_crops_training_shows_the_centre(root: Path) -> None:
    augment = {"augment.resized_crop": None, "augment.flip": False}
    train, cfg = read(root, workers=0, **augment).train, config(root, **augment)
    ((x, y),) = epoch_of(train, cfg, batch_size=32)
    ((fixed, labels),) = eval_batches(train, cfg, batch_size=32)
    assert sorted(y.tolist()) == labels.tolist()
    assert torch.equal(x.sum((1, 2, 3)).sort().values, fixed.sum((1, 2, 3)).sort().values)


# --- workers ------------------------------------------------------------------------------------------------


def square(number: int) -> int:
    return number**2


def test_workers_outlive_the_signals_of_a_stopped_job() -> None:
    """Slurm sends them to all processes of a job, and the run goes on to the end of its step."""
    results = in_workers(square, range(40), 2)
    found = [next(results)]
    for worker in multiprocessing.active_children():
        for number in (signal.SIGTERM, signal.SIGUSR2):
            assert worker.pid is not None
            os.kill(worker.pid, number)
    assert [*found, *results] == [n**2 for n in range(40)]


def test_more_processes_than_cores_are_taken_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    assert list(in_workers(square, range(40), usable_cores() + 1)) == [n**2 for n in range(40)]
    assert not recwarn.list


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"was killed, perhaps .* want of memory.*dataset\.workers=1"):
        list(in_workers(die, range(4), 2))


def overflow(number: int) -> int:
    raise RuntimeError(f"{number} is too large")


def test_an_error_of_the_work_itself_is_not_taken_for_a_killed_worker() -> None:
    with pytest.raises(RuntimeError, match="0 is too large"):
        list(in_workers(overflow, range(4), 2))


FEW_FILES = """
import os, resource, sys
from rbp.data.image_files.workers import in_workers
from rbp.errors import DataError
limit = len(os.listdir("/proc/self/fd")) + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    list(in_workers(abs, range(40), 2))
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("spare", [3, 6, 9])
def test_too_many_open_files_is_an_error_that_says_what_to_do(spare: int) -> None:
    """As with a process for each of some hundred cores, and the usual limit of 1,024.

    A worker that had started already would keep the program from ending.
    """
    command = [sys.executable, "-c", FEW_FILES, str(spare)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "allow more by ulimit -n" in done.stdout and "dataset.workers=1" in done.stdout


def test_an_epoch_keeps_no_file_open_for_each_batch(root: Path) -> None:
    """ImageNet has 2,502 batches of 512, and a process may usually have 1,024 files open."""
    images = read(root, workers=0).train.take(torch.arange(2))
    assert isinstance(images, ImageFiles)
    by_workers = dataclasses.replace(images, settings=dataclasses.replace(images.settings, workers=2))
    batches = training_pixels(by_workers, [torch.tensor([n % 2]) for n in range(300)], seed=0, epoch=0)
    opened = [len(os.listdir("/proc/self/fd")) for _ in batches]
    assert len(opened) == 300 and max(opened[20:]) - min(opened[20:]) < 20


# --- files that are broken or missing -----------------------------------------------------------------------


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_image(file: Path) -> None:
    file.write_bytes(b"\xff\xd8\xff not a JPEG")


@pytest.mark.parametrize("damage", [truncate, no_image])
def test_a_broken_file_is_named_or_on_request_skipped(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write_imagenet(tmp_path, train=3, val=2)
    file = tmp_path / "train" / CLASSES[1] / f"{CLASSES[1]}_1.JPEG"
    damage(file)
    with pytest.raises(DataError, match=rf"(?s){file}: is no .*image.*dataset\.on_error=skip"):
        read(tmp_path)
    assert not (tmp_path / "prepared" / "imagenet-index").exists()
    skipping = read(tmp_path, on_error="skip")
    assert (len(skipping.train), len(skipping.test)) == (11, 8)
    assert "1 skipped file: " in capsys.readouterr().out
    assert [len(y) for _, y in epoch_of(skipping.train, config(tmp_path))] == [
        10
    ]  # no batch of a single image
    with pytest.raises(
        DataError, match=rf"was made with dataset\.on_error=skip and lacks 1 skipped .*{file}"
    ):
        read(tmp_path)


def test_a_file_that_breaks_after_the_index_was_made_is_named_when_it_is_read(tmp_path: Path) -> None:
    write_imagenet(tmp_path, train=2, val=2)
    images = read(tmp_path, workers=1).train
    file = tmp_path / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
    truncate(file)
    with pytest.raises(DataError, match=rf"^{file}: is no whole image"):
        epoch_of(images, config(tmp_path))


def run_advice(error: DataError) -> int:
    """Run the command that the message of an error ends with, as it stands there."""
    command = str(error).partition("rbp data prepare ")[2].split()
    return main(["data", "prepare", *command, "--workers", "1"])


def test_files_that_came_later_are_refused_until_the_index_is_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_imagenet(tmp_path, train=2, val=2)
    assert len(read(tmp_path).train) == 8
    write_imagenet(tmp_path, train=3, val=0)
    with pytest.raises(DataError, match="added, removed or renamed since") as refused:
        read(tmp_path, workers=0)
    assert run_advice(refused.value) == 0
    assert "12 training and 8 test images in 4 classes" in capsys.readouterr().out
    assert len(read(tmp_path, workers=0).train) == 12


def test_a_copy_with_the_same_names_is_read_by_the_index_of_the_first(tmp_path: Path) -> None:
    """As where each job unpacks the tar files to its node's disk; nothing is decoded again."""
    first, copy, prepared = tmp_path / "first", tmp_path / "copy", tmp_path / "prepared"
    keys: dict[str, Any] = {"prepared": prepared, "on_error": "skip", "workers": 1}
    for root in (first, copy):
        write_imagenet(root, train=3, val=2)
        no_image(root / "train" / CLASSES[1] / f"{CLASSES[1]}_1.JPEG")
    expected = epoch_of(read(first, **keys).train, config(first))
    decoded_once = {file: file.stat().st_mtime_ns for file in prepared.rglob("*.*")}
    images = read(copy, **keys).train
    assert same(epoch_of(images, config(copy)), expected)
    assert isinstance(images, ImageFiles) and images.folder == copy / "train"
    command = ["data", "prepare", "imagenet", f"dataset.root={copy}", f"dataset.prepared={prepared}"]
    assert main([*command, "dataset.classes=4", "dataset.on_error=skip"]) == 0
    assert decoded_once == {file: file.stat().st_mtime_ns for file in prepared.rglob("*.*")}


@pytest.mark.parametrize("change", ["add", "remove", "rename"])
def test_an_index_of_another_root_is_neither_used_nor_overwritten(
    tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other, prepared = tmp_path / "first", tmp_path / "other", tmp_path / "prepared"
    for root in (first, other):
        write_imagenet(root, train=2, val=2)
    file = other / "val" / CLASSES[3] / "ILSVRC2012_val_00030002.JPEG"
    if change == "add":
        file.with_name("more.JPEG").write_bytes(file.read_bytes())
    else:
        file.rename(file.with_name("renamed.JPEG" if change == "rename" else "removed"))
    read(first, prepared=prepared)
    told = rf"{other / 'val'}: has other files than {first}, .*dataset\.prepared=PATH"
    with pytest.raises(DataError, match=told):
        read(other, prepared=prepared)
    command = ["data", "prepare", "imagenet", f"dataset.root={other}", f"dataset.prepared={prepared}"]
    assert main([*command, "dataset.classes=4"]) == 2
    assert f"has other files than {first}" in " ".join(capsys.readouterr().err.split())
    assert len(read(first, prepared=prepared, workers=0).test) == 8


def test_a_training_set_of_other_than_imagenets_size_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_imagenet(tmp_path, train=1, val=1)
    for number in range(1000 - len(CLASSES)):
        for part in ("train", "val"):
            folder = tmp_path / part / f"n{number:03}"
            folder.mkdir()
            (folder / "0.JPEG").hardlink_to(next((tmp_path / part / CLASSES[0]).iterdir()))
    read(tmp_path, classes=1000)
    told = "ImageNet has 1,281,167 images in train and 50,000 images in val; here are 1,000 images in train"
    assert told in " ".join(capsys.readouterr().out.split())


def remove(path: Path) -> None:
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


def empty_class(root: Path) -> None:
    for file in (root / "train" / CLASSES[2]).iterdir():
        file.unlink()


def loose(root: Path) -> None:
    for file in list((root / "val").rglob("*.JPEG")):
        file.rename(root / "val" / file.name)
    for name in CLASSES:
        (root / "val" / name).rmdir()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: remove(root / "val"), r"val is missing.*train/CLASS/FILE and val/CLASS/FILE"),
        (lambda root: remove(root / "val" / CLASSES[0]), rf"/val: lacks 1 class .*{CLASSES[0]}"),
        (lambda root: (root / "val" / "n9").mkdir(), r"/val/n9: the class has no image"),
        (empty_class, rf"/train/{CLASSES[2]}: the class has no image"),
        (loose, r"/val: has 8 images and no class folders"),
    ],
)
def test_folders_that_do_not_fit_are_named(
    tmp_path: Path, change: Callable[[Path], object], told: str
) -> None:
    change(write_imagenet(tmp_path, train=2, val=2))
    with pytest.raises(DataError, match=told):
        read(tmp_path)


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    write_imagenet(tmp_path, train=2, val=2)
    with pytest.raises(DataError, match=r"dataset\.classes=1000: .*train has 4 class folders"):
        read(tmp_path, classes=1000)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("dataset.short_side=200", "dataset.short_side=200: must be at least dataset.size=224"),
        ("dataset.augment.cutout=8", "dataset.augment.cutout=8: .*resized_crop and flip only"),
        ("dataset.augment.resized_crop=0", "dataset.augment.resized_crop=0"),
        ("dataset.channels=1", "dataset.channels=1: image files are read as RGB"),
    ],
)
def test_keys_that_do_not_fit_are_refused(override: str, told: str) -> None:
    from tests.support.configs import make

    with pytest.raises(ConfigError, match=told):
        make("dataset=imagenet", override)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("classes", [3, 5])
def test_an_index_is_not_read_for_another_number_of_classes(
    tmp_path: Path, classes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_imagenet(tmp_path, train=2, val=2)
    told = rf"dataset\.classes={classes}: .*train has 4 class folders"
    for there in (False, True):  # the index
        with pytest.raises(DataError, match=told):
            imagenet.what_is_there(tmp_path, settings_of(tmp_path, classes=classes))
        with pytest.raises(DataError, match=told):
            read(tmp_path, classes=classes)
        command = ["data", "prepare", "imagenet", f"dataset.root={tmp_path}", f"dataset.classes={classes}"]
        assert main(command) == 2
        assert "train has 4 class folders" in " ".join(capsys.readouterr().err.split())
        if not there:
            assert names_in(tmp_path) == ["train", "val"]  # a refusal leaves nothing behind
            read(tmp_path)
    assert names_in(tmp_path / "prepared") == ["imagenet-index"]


def test_prepare_checks_each_image_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was replaced changes no folder's time."""
    write_imagenet(tmp_path, train=3, val=2)
    assert prepare(tmp_path) == 0
    file = tmp_path / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
    no_image(file)
    assert prepare(tmp_path) == 2
    assert f"{file}: is no " in capsys.readouterr().err.replace("\n", " ")
    assert prepare(tmp_path, "dataset.on_error=skip") == 0
    assert "11 training and 8 test images" in " ".join(capsys.readouterr().out.split())
    assert len(read(tmp_path, on_error="skip", workers=0).train) == 11


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def test_a_pipe_is_no_image_and_is_not_waited_for(tmp_path: Path) -> None:
    write_imagenet(tmp_path, train=3, val=2)
    images = read(tmp_path, workers=0).train
    file = tmp_path / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
    pipe(file)
    with pytest.raises(DataError, match=rf"^{file}: is no image, as it is no plain file"):
        epoch_of(images, config(tmp_path))
    assert prepare(tmp_path) == 2
    assert prepare(tmp_path, "dataset.on_error=skip") == 0
    assert len(read(tmp_path, on_error="skip", workers=0).train) == 11


@pytest.mark.parametrize("ending", ["png", "pgm"])
def test_grey_of_16_bits_is_scaled_to_8(tmp_path: Path, ending: str) -> None:
    """Pillow alone would make all above 255 white."""
    levels = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    file = tmp_path / f"grey.{ending}"
    Image.fromarray(levels).save(file)
    shown = centre_view(file, 64, 64)
    assert shown.shape == (3, 64, 64)
    assert torch.equal(shown[0], torch.from_numpy((levels / 257).round().astype(np.uint8)))
    assert torch.equal(shown[0], shown[1]) and torch.equal(shown[0], shown[2])
    part = random_view(file, 16, 0.5, False, torch.Generator().manual_seed(0))
    assert part.float().std() > 20 and int(part.max()) < 256


@pytest.mark.parametrize("kind", ["uint16", "int32", "float32"])
def test_values_of_no_known_range_are_refused_before_training(tmp_path: Path, kind: str) -> None:
    """A TIFF's may end at 4095, or at 1.0."""
    write_imagenet(tmp_path, train=2, val=2)
    file = tmp_path / "train" / CLASSES[0] / "deep.tiff"
    Image.fromarray(np.arange(4096).reshape(64, 64).astype(kind)).save(file)
    with pytest.raises(DataError, match=rf"^{file}: has values of no known range .*convert it to 8 bits"):
        read(tmp_path)


def test_images_in_subfolders_are_found_as_by_image_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_imagenet(tmp_path, train=2, val=2)
    place = tmp_path / "train" / CLASSES[1]
    for name in ("a/b/1.JPEG", "a-b/2.JPEG", "a/3.JPEG", "z.JPEG/4.JPEG", "0/link"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("link"):
            (place / name).symlink_to(tmp_path / "val" / CLASSES[1])
        else:
            (place / name).write_bytes(encoded(1, 0))
    images = read(tmp_path, workers=0).train
    assert isinstance(images, ImageFiles) and len(images) == 14
    found = [(str(images.path(n)), label) for n, label in enumerate(images.labels.tolist())]
    assert found == ImageFolder(str(tmp_path / "train")).samples
    assert "leaves out" not in capsys.readouterr().out
    assert len(epoch_of(images, config(tmp_path))) == 2
    (place / "a" / "b" / "5.JPEG").write_bytes(encoded(1, 0))
    with pytest.raises(DataError, match="added, removed or renamed since"):
        read(tmp_path)


def test_what_is_left_out_by_its_name_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_imagenet(tmp_path, train=2, val=2)
    for name in (".hidden.JPEG", "notes.txt"):
        (tmp_path / "train" / CLASSES[1] / name).write_bytes(encoded(1, 0))
    assert len(read(tmp_path, workers=0).train) == 8
    told = " ".join(capsys.readouterr().out.split())
    assert "train: leaves out 2 entries whose name begins with a dot or has none of the endings .jpg" in told
    assert f"{CLASSES[1]}/.hidden.JPEG, {CLASSES[1]}/notes.txt" in told and "val: leaves" not in told


def test_a_link_to_a_folder_around_it_is_refused(tmp_path: Path) -> None:
    write_imagenet(tmp_path, train=2, val=2)
    link = tmp_path / "val" / CLASSES[0] / "again"
    link.symlink_to(link.parent)
    with pytest.raises(DataError, match=rf"{link}: is a link to a folder that it lies in"):
        read(tmp_path)


# --- the original tar files ---------------------------------------------------------------------------------


def prepare(root: Path, *more: str) -> int:
    keys = [f"dataset.root={root}", "dataset.classes=4", *more]
    return main(["data", "prepare", "imagenet", *keys, "--workers", "1"])


def test_the_original_tars_become_folders_with_the_labels_of_the_kit(tmp_path: Path) -> None:
    of_class = write_tars(tmp_path)
    with pytest.raises(DataError, match="unpack the tar files there with rbp data prepare") as refused:
        read(tmp_path)
    assert run_advice(refused.value) == 0
    for name, files in of_class.items():
        assert sorted(file.name for file in (tmp_path / "val" / name).iterdir()) == files
        assert len(list((tmp_path / "train" / name).iterdir())) == 3
    assert (len(read(tmp_path, workers=0).train), len(read(tmp_path, workers=0).test)) == (12, 8)


def test_tars_unpacked_in_a_job_are_read_by_the_index_that_was_made_before(
    tmp_path: Path,
) -> None:
    """As docs/imagenet.md has it; no image is decoded to check it again."""
    shared, node = tmp_path / "shared", tmp_path / "node"
    write_tars(shared)
    assert prepare(shared) == 0
    remove(shared / "train")
    remove(shared / "val")
    manifest = shared / "prepared" / "imagenet-index" / "manifest.json"
    made = manifest.stat().st_mtime_ns
    node.mkdir()
    for tar in shared.glob("*.tar*"):
        (node / tar.name).symlink_to(tar)
    assert prepare(node, f"dataset.prepared={shared / 'prepared'}") == 0
    images = read(node, prepared=shared / "prepared", workers=0).train
    assert isinstance(images, ImageFiles) and images.path(0).is_relative_to(node) and len(images) == 12
    assert len(epoch_of(images, config(node))) == 2 and manifest.stat().st_mtime_ns == made


def test_a_tar_that_is_cut_off_is_named_and_what_was_whole_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tars(tmp_path)
    tar = tmp_path / "ILSVRC2012_img_train.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[: len(whole) // 2])
    assert prepare(tmp_path) == 2
    assert f"{tar}" in capsys.readouterr().err and not (tmp_path / "train").exists()
    kept = tmp_path / ".unpacking-train" / CLASSES[0]
    inode = kept.stat().st_ino
    tar.write_bytes(whole)
    assert prepare(tmp_path) == 0
    assert (tmp_path / "train" / CLASSES[0]).stat().st_ino == inode


def second_header(tar: bytes) -> int:
    """Where the header of the second file in a tar begins."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        return members.getmembers()[1].offset


def pack_badly(file: Path) -> None:
    """A compressed file whose beginning is sound."""
    whole = file.read_bytes()
    file.write_bytes(whole[:20] + bytes(len(whole) - 20))


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("ILSVRC2012_img_train.tar", lambda file: file.write_bytes(b"no"), "is no tar file. "),
        ("ILSVRC2012_img_train.tar", pipe, "is no plain file. "),
        ("ILSVRC2012_devkit_t12.tar.gz", pack_badly, "is no "),
    ],
)
def test_a_file_that_is_no_tar_is_told_in_a_line(
    tmp_path: Path, name: str, damage: Callable[[Path], object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tars(tmp_path)
    before = names_in(tmp_path)
    damage(tmp_path / name)
    assert prepare(tmp_path) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{tmp_path / name}: {told}" in error and "method" not in error
    assert names_in(tmp_path) == sorted(before + (["train"] if "devkit" in name else []))


def flip_a_byte(tar: bytes) -> bytes:
    place = second_header(tar) + 20
    return tar[:place] + bytes([tar[place] ^ 1]) + tar[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        lambda tar: tar[: second_header(tar) + 100],  # inside the header
        lambda tar: tar[: second_header(tar)],  # between two files
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_a_tar_that_is_damaged_at_a_header_is_named_and_no_class_is_short(
    tmp_path: Path, damage: Callable[[bytes], bytes], inside: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """tarfile ends there without a word. Damaged is the tar of a class, or the one of all classes."""
    write_tars(tmp_path, damage=damage if inside else bytes)
    tar = tmp_path / "ILSVRC2012_img_train.tar"
    if not inside:
        tar.write_bytes(damage(tar.read_bytes()))
    assert prepare(tmp_path) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{tar}{f': {CLASSES[0]}.tar' if inside else ''}: is damaged or cut off after 1 file" in error
    assert not (tmp_path / "train").exists()
    whole = [] if inside else [CLASSES[0]]
    assert [file.name for file in (tmp_path / ".unpacking-train").iterdir() if file.name[0] != "."] == whole
    write_tars(tmp_path)
    assert prepare(tmp_path) == 0
    assert [len(list((tmp_path / "train" / name).iterdir())) for name in CLASSES] == [3, 3, 3, 3]


def test_without_the_kit_the_validation_tar_is_not_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tars(tmp_path)
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    assert prepare(tmp_path) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "ILSVRC2012_devkit_t12.tar.gz: is missing: only it says which class" in error
    assert not (tmp_path / "val").exists() and np.all(
        [(tmp_path / "train" / name).is_dir() for name in CLASSES]
    )


def test_the_speed_of_both_is_measured_on_the_same_files(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [f"dataset.root={root}", "dataset.classes=4", "dataset.size=32", "dataset.short_side=36"]
    assert main(["data", "speed", "imagenet", *keys, "--images", "8", "--rounds", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "images/s and core" in line]
    assert [line.partition(":")[0] for line in lines] == ["training", "evaluation"]
    assert main(["data", "speed", "digits", "--images", "8"]) == 2
    assert "must be image files" in capsys.readouterr().err
    assert main(["data", "speed", "imagenet", *keys, "--images", "1"]) == 2
    assert "must be 2 or more" in capsys.readouterr().err


def test_speed_counts_the_images_that_were_read() -> None:
    """A last batch of one image is not trained on. Each of these batches takes a hundredth of a second."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for n in (4, 4, 2):
            end = time.process_time() + 0.01
            while time.process_time() < end:
                pass
            yield torch.zeros(n, 3, 2, 2), torch.zeros(n)

    assert 0.003 <= seconds_per_image(batches()) < 0.006


@pytest.mark.parametrize("work", [die, overflow])
def test_no_process_outlives_an_error_whose_trace_is_kept(work: Callable[[int], int]) -> None:
    others = multiprocessing.active_children()
    with pytest.raises((DataError, RuntimeError)) as kept:
        list(in_workers(work, range(4), 2))
    assert kept.tb is not None and multiprocessing.active_children() == others
