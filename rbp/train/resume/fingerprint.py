"""Tell the images of a run from others, so that a stopped run goes on with its own or not at all."""

import hashlib
from collections.abc import Iterator

import torch

from rbp.data.image_files.files_and_labels import ImageFiles
from rbp.data.images import Images, Splits

_LOOKED_AT = 64  # images of a part held in memory; all of a large set would take seconds at each start


def fingerprint(splits: Splits) -> str:
    """Return the numbers of images and a hash: of labels, and of file names or of some of the pixels."""
    parts = {"training": splits.train, "validation": splits.val, "test": splits.test}
    digest = hashlib.sha256()
    for images in parts.values():
        for content in () if images is None else _contents(images):
            digest.update(content)
    numbers = ", ".join(f"{len(images)} {name}" for name, images in parts.items() if images is not None)
    return f"{numbers} images ({digest.hexdigest()[:8]})"


def _contents(images: Images | ImageFiles) -> Iterator[bytes]:
    yield images.labels.cpu().numpy().tobytes()
    if isinstance(images, ImageFiles):
        yield images.names.text.tobytes()
        yield images.numbers.numpy().tobytes()
    else:
        some = torch.linspace(0, len(images) - 1, min(len(images), _LOOKED_AT)).long()
        yield images.take(some).pixels.cpu().numpy().tobytes()
