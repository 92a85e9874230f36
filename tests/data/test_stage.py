"""dataset.stage: a whole copy on the node's own disk, made once, or a clear error."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from rbp.config.schema import keys
from rbp.data import load, stage
from rbp.data.stage import copied_to_stage
from rbp.errors import DataError
from tests.support.datasets import dataset_config, in_memory, write_cifar10
from tests.support.disk import tiny_disk
from tests.support.image_files import write_imagenet


def cifar(folder: Path, **keys: object) -> DictConfig:
    """The config of a small CIFAR-10 in folder/data, staged to folder/scratch unless keys say otherwise."""
    if not (folder / "data").exists():
        write_cifar10(folder / "data")
    return dataset_config("cifar10", **{"root": folder / "data", "stage": folder / "scratch", **keys})


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_copy_is_read_and_root_no_more(tmp_path: Path) -> None:
    data = cifar(tmp_path)
    expected = in_memory(load(data).train)
    there = copied_to_stage(data)
    assert Path(there.root).parent == tmp_path / "scratch" and data.root == str(tmp_path / "data")
    assert files(Path(there.root)) == files(tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    found = in_memory(load(there).train)
    assert torch.equal(found.pixels, expected.pixels) and torch.equal(found.labels, expected.labels)


def test_a_whole_copy_is_used_again_and_a_changed_one_made_anew(tmp_path: Path) -> None:
    data = cifar(tmp_path)
    copy = Path(copied_to_stage(data).root)
    inode = copy.stat().st_ino
    assert Path(copied_to_stage(data).root).stat().st_ino == inode
    batch = "cifar-10-batches-py/data_batch_1"
    for change in (
        lambda: (copy / batch).write_bytes(b""),  # cut
        lambda: (copy / batch).unlink(),  # as cleaners of /tmp do
        lambda: os.utime(tmp_path / "data" / batch, (1, 1)),  # another version, as long as the old one
        lambda: (tmp_path / "data" / "more").write_bytes(b"1"),
    ):
        change()
        assert files(Path(copied_to_stage(data).root)) == files(tmp_path / "data")


def test_imagenets_tar_files_stay_where_they_are(tmp_path: Path) -> None:
    """They are 150 GB; their folders are what is read."""
    root = write_imagenet(tmp_path / "data", train=1, val=1)
    expected = files(root)
    for tar in ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"):
        (root / tar).write_bytes(b"large")
    data = dataset_config("imagenet", root=root, stage=tmp_path / "scratch")
    copy = Path(copied_to_stage(data).root)
    assert files(copy) == expected
    inode = copy.stat().st_ino
    assert Path(copied_to_stage(data).root).stat().st_ino == inode


def test_data_of_two_roots_lie_side_by_side(tmp_path: Path) -> None:
    one, two = (copied_to_stage(cifar(tmp_path / name, stage=tmp_path / "scratch")).root for name in "ab")
    assert one != two and Path(one).parent == Path(two).parent


def test_cells_that_start_at_once_on_one_node_make_one_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads stand for processes: the lock is one of open files, so it holds between them as well."""
    data, real, copies = cifar(tmp_path), stage._copy, []

    def counted(source: Path, target: Path) -> None:
        copies.append(target)
        real(source, target)

    monkeypatch.setattr(stage, "_copy", counted)
    with ThreadPoolExecutor(6) as cells:
        roots = set(cells.map(lambda _: copied_to_stage(data).root, range(6)))
    assert len(copies) == 1 and roots == {str(copies[0])}


def test_a_copy_that_was_broken_off_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = cifar(tmp_path)
    name = Path(copied_to_stage(data).root).name
    shutil.rmtree(tmp_path / "scratch" / name)
    part = tmp_path / "scratch" / f".{name}.unfinished"  # what a kill leaves
    (part / "cifar-10-batches-py").mkdir(parents=True)
    (part / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"half")
    assert files(Path(copied_to_stage(data).root)) == files(tmp_path / "data") and not part.exists()


def test_bundled_data_have_nothing_to_stage(tmp_path: Path) -> None:
    assert copied_to_stage(dataset_config("digits", stage=tmp_path / "scratch")).root == ""
    assert not (tmp_path / "scratch").exists()


def test_variables_are_those_of_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "job 7"))
    assert copied_to_stage(cifar(tmp_path, stage="$SLURM_TMPDIR/rbp")).root.startswith(
        str(tmp_path / "job 7" / "rbp")
    )
    monkeypatch.delenv("SLURM_TMPDIR")
    with pytest.raises(DataError, match=r"dataset.stage=\$SLURM_TMPDIR/rbp: \$SLURM_TMPDIR is not set on "):
        copied_to_stage(cifar(tmp_path, stage="$SLURM_TMPDIR/rbp"))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        DataError, match=r"dataset.stage=.*/file/x: .*/data \(.* cannot be copied to .*Not a dir"
    ):
        copied_to_stage(cifar(tmp_path, stage=tmp_path / "file" / "x"))
    with pytest.raises(DataError, match=r"dataset.stage=.*: must not lie in dataset.root"):
        copied_to_stage(cifar(tmp_path, stage=tmp_path / "data" / "copy"))
    with pytest.raises(DataError, match=r"dataset.root=.*/nowhere: .* has no files on "):
        copied_to_stage(cifar(tmp_path, root=tmp_path / "nowhere"))


def test_a_full_disk_is_named_and_nothing_by_half_is_left(tmp_path: Path) -> None:
    data = cifar(tmp_path)  # 370 KB
    with tiny_disk(tmp_path / "scratch", "200k") as scratch:
        with pytest.raises(DataError, match=r"0.4 MiB\) cannot .*: No space left on device; choose"):
            copied_to_stage(data)
        assert [p.name for p in scratch.iterdir() if not p.name.endswith(".lock")] == []


def test_the_key_is_null_or_a_path() -> None:
    allowed = keys()["dataset.stage"].allowed
    assert allowed is not None
    assert [allowed.holds(value) for value in (None, "$TMPDIR", "", " ")] == [True, True, False, False]
