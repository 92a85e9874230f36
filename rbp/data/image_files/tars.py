"""Unpack ImageNet's original tar files into class folders; goes on where it was stopped.

The training tar holds a tar for each class. The validation tar is flat: which class an image has is said by
the development kit.
"""

import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from lzma import LZMAError
from pathlib import Path

from rbp.data.files import broken
from rbp.errors import DataError
from rbp.locks import passing_lock
from rbp.terminal.output import say

TRAIN_TAR = "ILSVRC2012_img_train.tar"
VAL_TAR = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
_FOLDER = "ILSVRC2012_devkit_t12/data"  # in the development kit
_READ = 2**20  # bytes that are read at once of what follows the last file


def unpack(root: Path) -> None:
    """Make root/train and root/val of the tar files in root, where a folder is missing and its tar is there.

    Each folder is put in place once it is whole.

    Raises:
        DataError: A tar file is damaged, the development kit is missing, or files cannot be written.
    """
    for part, tar, fill in (("train", TRAIN_TAR, _unpack_train), ("val", VAL_TAR, _unpack_val)):
        if (root / part).exists() or not (root / tar).exists():
            continue
        building = root / f".unpacking-{part}"
        try:
            with passing_lock(root / f"{building.name}.lock"):
                if (root / part).exists():  # unpacked by another process meanwhile
                    continue
                say(f"{root / tar}: is unpacked to {root / part}")
                building.mkdir(exist_ok=True)
                try:
                    fill(root, building)
                    building.rename(root / part)
                finally:
                    with suppress(OSError):  # it has its name, or holds what is kept
                        building.rmdir()
        except OSError as error:
            raise DataError(
                f"{error.filename or building}: cannot be written: {error.strerror or error}. Make room "
                "there; what is unpacked is kept, the same command goes on"
            ) from error


def _unpack_train(root: Path, building: Path) -> None:
    for outer, member in _members(root / TRAIN_TAR):
        name = Path(member.name).stem
        if (building / name).exists():
            continue
        where = f"{root / TRAIN_TAR}: {member.name}"
        with _sound(where):
            inner = tarfile.open(fileobj=outer.extractfile(member))  # noqa: SIM115
        with inner, _whole_folder(building / name) as folder:
            for image in _files_of(inner, where):
                _write(inner, image, folder, where)


def _unpack_val(root: Path, building: Path) -> None:
    classes = _validation_classes(root)
    shutil.rmtree(building)  # it is a twentieth of all: begun anew
    building.mkdir()
    for name in set(classes):
        (building / name).mkdir()
    done = 0
    for tar, member in _members(root / VAL_TAR):
        number = Path(member.name).stem.rpartition("_")[2]  # ILSVRC2012_val_00000001.JPEG
        if not number.isdecimal() or not 0 < int(number) <= len(classes):
            raise broken(
                root / VAL_TAR,
                f"has {member.name}; must have ILSVRC2012_val_NUMBER.JPEG, from 1 to the {len(classes)} "
                f"labels of {DEVKIT}",
            )
        _write(tar, member, building / classes[int(number) - 1], str(root / VAL_TAR))
        done += 1
    if done != len(classes):
        raise broken(root / VAL_TAR, f"has {done} images, and {DEVKIT} has {len(classes)} labels")


def _validation_classes(root: Path) -> list[str]:
    """Return the class folder of each validation image, in the order of their numbers."""
    kit = root / DEVKIT
    if not kit.exists():
        raise DataError(
            f"{kit}: is missing: only it says which class an image of {VAL_TAR} has. Put it there, or make "
            f"{root / 'val'} with a folder per class yourself"
        )
    held = {Path(member.name).name: tar_content(tar, member, kit) for tar, member in _members(kit, _WANTED)}
    if missing := [name for name in _WANTED if name not in held]:
        raise broken(kit, f"lacks {', '.join(f'{_FOLDER}/{name}' for name in missing)}")
    folders = _folder_by_id(held["meta.mat"], f"{kit}: {_FOLDER}/meta.mat")
    ids = held["ILSVRC2012_validation_ground_truth.txt"].split()
    if wrong := next((i for i in ids if not i.isdigit() or int(i) not in folders), None):
        raise broken(kit, f"has the label {wrong.decode(errors='replace')}, which meta.mat does not know")
    return [folders[int(i)] for i in ids]


_WANTED = ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")


def _folder_by_id(content: bytes, where: str) -> dict[int, str]:
    """Return the name of the class folder (the WordNet ID) of each of the challenge's own class numbers."""
    from io import BytesIO

    from scipy.io import loadmat

    try:
        synsets = loadmat(BytesIO(content), squeeze_me=True)["synsets"]
        rows = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"], strict=True)
        # Rows with children are groups of classes, of which there are no images.
        return {int(number): str(name) for number, name, children in rows if int(children) == 0}
    except Exception as error:  # damaged bytes can raise anything
        raise broken(where, f"is no table of classes: {error!r:.100}") from error


def tar_content(tar: tarfile.TarFile, member: tarfile.TarInfo, where: Path | str) -> bytes:
    """Return the content of a member of a tar file; raise DataError if it is cut off."""
    with _sound(where):
        stream = tar.extractfile(member)
        content = stream.read() if stream else b""
    if len(content) != member.size:
        raise broken(where, f"{member.name} is cut off: {len(content)} of {member.size} bytes")
    return content


def _members(file: Path, wanted: tuple[str, ...] = ()) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the files in a tar file, or those with a wanted name, each with the open tar file."""
    if file.exists() and not file.is_file():
        raise broken(file, "is no plain file")  # reading a pipe would block
    with _sound(file):
        tar = tarfile.open(file)  # noqa: SIM115
    with tar:
        for member in _files_of(tar, str(file)):
            if not wanted or Path(member.name).name in wanted:
                yield tar, member


def _files_of(tar: tarfile.TarFile, where: str) -> Iterator[tarfile.TarInfo]:
    """Yield the files in a tar file; raise DataError if it does not end as a tar file must."""
    done = 0
    while True:
        with _sound(where):
            member = tar.next()
        if member is None:
            break
        tar.members = []  # type: ignore[attr-defined]  # or each of 50,000 images would be remembered
        if member.isfile():
            yield member
            done += 1
    with _sound(where):
        ends = _ends(tar)
    if not ends:  # tarfile takes a header that is damaged or cut off for the end
        raise broken(where, f"is damaged or cut off after {done} file{'' if done == 1 else 's'}")


def _ends(tar: tarfile.TarFile) -> bool:
    """Return whether what is left of a tar file is a block of zeros or more, and nothing else."""
    stream = tar.fileobj
    assert stream is not None
    stream.seek(tar.offset)
    left = 0
    while block := stream.read(_READ):
        if block.strip(b"\0"):
            return False
        left += len(block)
    return left >= tarfile.BLOCKSIZE


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, where: str) -> None:
    # Only the last part of the name: it must not lead out of the folder.
    (folder / Path(member.name).name).write_bytes(tar_content(tar, member, where))


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which gets its name once the block ends without an error."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
    unfinished.mkdir()
    yield unfinished
    unfinished.rename(folder)


@contextmanager
def _sound(where: Path | str) -> Iterator[None]:
    """Raise DataError if a tar file turns out to be damaged inside the block."""
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, zlib.error, LZMAError) as error:
        why = str(error)
        # What no way of compression fits is told in a line of Python's for each of them.
        raise broken(where, "is no tar file" if "\n" in why else f"is no whole tar file: {why}") from error
