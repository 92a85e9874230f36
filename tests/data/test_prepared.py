"""Prepared frames as they lie on disk: used when they are whole and of the recordings that are there."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rbp.data.events.sets.cifar10_dvs import cifar10_dvs
from rbp.errors import DataError
from tests.support.disk import tiny_disk
from tests.support.event_recordings import aedat2, framing, random_events, write_cifar10_dvs

pytestmark = pytest.mark.usefixtures("one_thread")


def folder(root: Path) -> Path:
    return framing().folder("cifar10_dvs", root)


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


def edits() -> dict[str, Callable[[dict[str, Any]], object]]:
    """What may happen to a manifest, by what it is."""

    def entries(manifest: dict[str, Any]) -> list[list[Any]]:
        return manifest["parts"]["train"]["recordings"]

    return {
        "another label": lambda m: entries(m)[0].__setitem__(1, 7),
        "half a label": lambda m: entries(m)[0].__setitem__(1, 2.5),
        "a label below 0": lambda m: entries(m)[0].__setitem__(1, -3),
        "a name for a label": lambda m: entries(m)[0].__setitem__(1, "cat"),
        "a recording less": lambda m: entries(m).pop(),
        "other levels": lambda m: m.__setitem__("levels", 1),
        "no levels": lambda m: m.pop("levels"),
        "no parts": lambda m: m.pop("parts"),
        "no source": lambda m: m.pop("source"),
        "nothing skipped": lambda m: m.pop("skipped"),
        "no checksum": lambda m: m.pop("sha256"),
    }


def test_a_manifest_that_was_edited_is_refused(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=20)
    before, _ = cifar10_dvs(str(tmp_path), False, framing())
    file = folder(tmp_path) / "manifest.json"
    whole = file.read_text()
    for what, edit in edits().items():
        manifest = json.loads(whole)
        edit(manifest)
        file.write_text(json.dumps(manifest))
        for use in (lambda: cifar10_dvs(str(tmp_path), False, framing()), lambda: prepare(tmp_path)):
            with pytest.raises(DataError, match=r"manifest.json: is damaged") as told:
                use()
            assert f"delete {folder(tmp_path)} and prepare it again" in str(told.value), what
    file.write_text(json.dumps(json.loads(whole)))  # how it is written does not matter
    assert torch.equal(cifar10_dvs(str(tmp_path), False, framing())[0].pixels, before.pixels)


def prepare(root: Path) -> None:
    cifar10_dvs.prepare(root, framing())


# --- the recordings since -----------------------------------------------------------------------------------


def test_prepared_frames_alone_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=3, n_events=20)
    before, _ = cifar10_dvs(str(tmp_path), False, framing())
    prepare(tmp_path)
    assert "is prepared already" in capsys.readouterr().out
    for file in tmp_path.glob("*/*.aedat"):
        file.unlink()
    assert torch.equal(cifar10_dvs(str(tmp_path), False, framing())[0].pixels, before.pixels)
    for place in tmp_path.iterdir():
        if place.name != "prepared":
            place.rmdir()
    assert torch.equal(cifar10_dvs(str(tmp_path), False, framing())[0].pixels, before.pixels)


def replace_one(root: Path) -> None:
    (root / "cat" / "cifar10_cat_1.aedat").write_bytes(aedat2(random_events(20, 99)))


def remove_one(root: Path) -> None:
    (root / "cat" / "cifar10_cat_1.aedat").unlink()


@pytest.mark.parametrize("change", [replace_one, remove_one])
def test_frames_of_other_recordings_are_not_used_and_made_anew_when_asked(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=3, n_events=20)
    cifar10_dvs(str(tmp_path), False, framing())
    change(tmp_path)
    with pytest.raises(DataError, match=r"not of the recordings as they are .*rbp data prepare cifar10_dvs"):
        cifar10_dvs(str(tmp_path), False, framing())
    prepare(tmp_path)
    after, _ = cifar10_dvs(str(tmp_path), False, framing())
    anew, _ = cifar10_dvs(str(tmp_path), False, framing(prepared=str(tmp_path / "other")))
    assert torch.equal(after.pixels, anew.pixels)


def test_a_class_that_was_deleted_since_is_told(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=20)
    cifar10_dvs(str(tmp_path), False, framing())
    shutil.rmtree(tmp_path / "cat")
    with pytest.raises(DataError, match=r"changed since: .* missing the classes cat.*move all .* away"):
        cifar10_dvs(str(tmp_path), False, framing())


def test_a_root_that_became_read_only_is_prepared_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tiny_disk(tmp_path / "disk", "40m") as disk:
        write_cifar10_dvs(disk, "folders", n=2, n_events=10)
        prepare(disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=60)
        prepare(disk)
        assert "is prepared already" in capsys.readouterr().out
        assert len(cifar10_dvs(str(disk), False, framing())[0]) == 10
