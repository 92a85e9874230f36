"""A small data set of image files in ImageNet's true form: JPEGs of different sizes in class folders, of
which some are grey, one is CMYK and one is a PNG by the name of a JPEG, as there; and the original tar files.
"""

import functools
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits, load_sample_images

CLASSES = ("n01440764", "n01443537", "n02102040", "n03000684")  # the two photographs, 0 and 1
_SIZES = ((90, 68), (64, 80), (120, 90), (75, 75), (300, 200))


@functools.cache
def _pictures() -> tuple[list[Image.Image], dict[int, list[np.ndarray]]]:
    """The two photographs of scikit-learn, and its digits 0 and 1."""
    bunch = load_digits()
    digits = {digit: list(bunch.images[bunch.target == digit]) for digit in (0, 1)}
    return [Image.fromarray(photograph) for photograph in load_sample_images().images], digits


def photograph(number: int) -> Image.Image:
    """One of the two photographs, 640 x 427."""
    return _pictures()[0][number]


def picture(label: int, number: int) -> Image.Image:
    """An image of a class: a crop of its photograph, or one of its digits, of a size of its own."""
    photographs, digits = _pictures()
    width, height = _SIZES[number % len(_SIZES)]
    if label < 2:
        x, y = 37 * number % 300, 23 * number % 200
        return photographs[label].crop((x, y, x + width, y + height))
    grey = (255 / 16 * digits[label - 2][number]).astype(np.uint8)
    return Image.fromarray(grey).resize((width, height), Image.Resampling.NEAREST).convert("RGB")


def encoded(label: int, number: int) -> bytes:
    """The bytes of an image: the third and fourth of a class are grey and CMYK, the fifth a PNG."""
    image, stream = picture(label, number), io.BytesIO()
    mode = {2: "L", 3: "CMYK"}.get(number % 8, "RGB")
    image.convert(mode).save(stream, "PNG" if number % 8 == 4 else "JPEG", quality=90)
    return stream.getvalue()


def write_imagenet(root: Path, train: int = 8, val: int = 6, classes: tuple[str, ...] = CLASSES) -> Path:
    """root/train/CLASS/CLASS_N.JPEG and root/val/CLASS/ILSVRC2012_val_N.JPEG; so many of each class."""
    for label, name in enumerate(classes):
        for part, numbers in (("train", range(train)), ("val", range(train, train + val))):
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in numbers:
                file = f"{name}_{number}" if part == "train" else f"ILSVRC2012_val_{label:04}{number:04}"
                (folder / f"{file}.JPEG").write_bytes(encoded(label, number))
    return root


def write_tars(
    root: Path, train: int = 3, val: int = 2, damage: Callable[[bytes], bytes] = bytes
) -> dict[str, list[str]]:
    """The three original files; gives the names of the validation images of each class.

    The bytes of the training images of the first class are what `damage` makes of them.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "ILSVRC2012_img_train.tar", "w") as outer:
        for label, name in enumerate(CLASSES):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for number in range(train):
                    _add(tar, f"{name}_{number}.JPEG", encoded(label, number))
            content = inner.getvalue()
            _add(outer, f"{name}.tar", content if label else damage(content))
    labels = [label for _ in range(val) for label in (2, 0, 3, 1)]  # not in order
    names = [f"ILSVRC2012_val_{n:08}.JPEG" for n in range(1, len(labels) + 1)]
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as tar:
        for number, (label, name) in enumerate(zip(labels, names, strict=True)):
            _add(tar, name, encoded(label, train + number // len(CLASSES)))
    _write_devkit(root / "ILSVRC2012_devkit_t12.tar.gz", labels)
    return {
        name: [file for file, of in zip(names, labels, strict=True) if of == label]
        for label, name in enumerate(CLASSES)
    }


# The challenge has another order of classes than their folders' names, and groups of classes after them.
_IDS = {1: CLASSES[3], 2: CLASSES[1], 3: CLASSES[0], 4: CLASSES[2], 5: "n00001740"}


def _write_devkit(file: Path, labels: list[int]) -> None:
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.array([[(number, name, "words", 4 * (number > 4))] for number, name in _IDS.items()], kind)
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    number_of = {name: number for number, name in _IDS.items()}
    truth = "".join(f"{number_of[CLASSES[label]]}\n" for label in labels)
    with tarfile.open(file, "w:gz") as tar:
        for name, content in (
            ("meta.mat", meta.getvalue()),
            ("ILSVRC2012_validation_ground_truth.txt", truth.encode()),
        ):
            _add(tar, f"ILSVRC2012_devkit_t12/data/{name}", content)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
