"""Decode an image file to a square of pixels, with as little work as that needs.

Resizing works on bytes. In training, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where what is shown
stays large enough; evaluation, whose accuracies are compared, shows what torchvision shows. Grey, CMYK and
palette images become RGB, and a PNG by the name of a JPEG is read as what it is: ImageNet has all of them.
Grey of 16 bits is scaled to 8, and other values than bytes are refused: Pillow cuts both off at 255.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from rbp.data.files import broken
from rbp.data.image_files.crops import Crop, centre_crop, random_crop, random_flip, resized
from rbp.errors import DataError

_FULL_RANGE = ("PNG", "PPM")  # formats whose values of 16 bits go from 0 to 65535, as Pillow reads them
_SCALES = (8, 4, 2)  # by which libjpeg can reduce an image while it decodes
_MARGIN = 1.5  # how much larger than needed the part is left: libjpeg's filter is sharper than torchvision's


def random_view(path: Path, size: int, smallest: float, flip: bool, random: Generator) -> Tensor:
    """Return a random part of an image, uint8 [3, size, size], perhaps flipped.

    Args:
        path: The image file.
        size: Side of the result in pixels.
        smallest: Smallest share of the image's area that the part may have.
        flip: Whether to flip half of the images.
        random: The image's own generator, on the CPU.

    Raises:
        DataError: The file is missing, no image, or not whole.
    """
    with opened(path) as image:
        crop = random_crop(*image.size, smallest, random)
        scale = _reduce(image, crop.width / size, crop.height / size)
        square = _square(image, crop, scale, size)
    return square.flip(-1) if flip and random_flip(random) else square


def centre_view(path: Path, size: int, short_side: int) -> Tensor:
    """Return the middle of an image whose shorter side is resized to `short_side`, uint8 [3, size, size].

    Raises:
        DataError: The file is missing, no image, or not whole.
    """
    with opened(path) as image:
        width, height = resized(*image.size, short_side)
        whole = _resize(_pixels(_rgb(image)), width, height)
    crop = centre_crop(width, height, size, size)
    return whole[:, crop.top : crop.top + size, crop.left : crop.left + size]


def check(path: Path) -> None:
    """Raise DataError unless a file is an image that can be decoded to its end."""
    with opened(path) as image:
        image.draft(image.mode, (1, 1))  # at the smallest scale, all bytes are read still
        _rgb(image)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image inside the block; any error of reading it is a DataError that names it."""
    try:
        with warnings.catch_warnings():
            # Of damaged Exif data, which is not used; and of bytes that torch must not write to.
            warnings.simplefilter("ignore")
            with _plain_file(path) as file, Image.open(file) as image:
                yield _of_bytes(image, path)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise broken(path, "is no image") from error
    except OSError as error:
        raise broken(path, f"is no whole image: {error.strerror or error}") from error
    except Exception as error:  # damaged bytes can raise anything
        raise broken(path, f"is no image that can be read: {error!r:.100}") from error


def _plain_file(path: Path) -> BinaryIO:
    """Open a file to read; raise DataError for what is none, such as a pipe, which would block."""
    file = open(path, "rb", opener=lambda name, how: os.open(name, how | os.O_NONBLOCK))  # noqa: SIM115
    if not S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise broken(path, "is no image, as it is no plain file")
    return file


def _of_bytes(image: Image.Image, path: Path) -> Image.Image:
    """Return an image whose values are bytes: itself, or made of grey of 16 bits."""
    if image.mode[0] not in "IF":  # Pillow's modes of integers and of floating-point numbers
        return image
    if image.format not in _FULL_RANGE or image.mode == "F":
        raise broken(
            path, f"has values of no known range (Pillow's mode {image.mode}); convert it to 8 bits a channel"
        )
    levels = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8))


def _reduce(image: Image.Image, wider: float, higher: float) -> int:
    """Have a JPEG decoded at a smaller scale, and return that scale's inverse.

    Args:
        image: The image, not decoded yet.
        wider: How many times wider than needed the image is.
        higher: How many times higher.
    """
    scale = next((scale for scale in _SCALES if min(wider, higher) >= _MARGIN * scale), 1)
    width, height = image.size
    if scale > 1 and image.draft(image.mode, (width // scale, height // scale)) is None:
        return 1  # no JPEG
    return scale


def _square(image: Image.Image, crop: Crop, scale: int, size: int) -> Tensor:
    """Return a part of an image that is decoded at 1/scale, resized to [3, size, size]."""
    right, bottom = crop.left + crop.width, crop.top + crop.height
    if scale == 1:
        return _resize(_pixels(_rgb(image.crop((crop.left, crop.top, right, bottom)))), size, size)
    # The part's edges lie between pixels now, which only Pillow allows for: the nearest ones would shift it.
    box = (crop.left / scale, crop.top / scale, right / scale, bottom / scale)
    return _pixels(_rgb(image).resize((size, size), Image.Resampling.BILINEAR, box))


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _pixels(image: Image.Image) -> Tensor:
    """Return an RGB image as uint8 [3, H, W], channels last in memory, which must not be written to."""
    return torch.from_numpy(np.asarray(image)).permute(2, 0, 1)


def _resize(pixels: Tensor, width: int, height: int) -> Tensor:
    """Resize [3, H, W] with antialiasing; torch does so with bytes, in a third of Pillow's time."""
    return interpolate(pixels[None], size=(height, width), mode="bilinear", antialias=True)[0]
