"""Read a pickled data file without letting it run code."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rbp.data.files import broken, read


def unpickle(path: Path) -> Any:
    """What a file holds, of dicts, lists, numbers, bytes and numpy arrays; Python 2's strings come as bytes.

    Raises DataError for a file that is truncated or no pickle, and for one that asks for anything else: a
    pickle can name any function of any module and have it called.
    """
    content = io.BytesIO(read(path))
    try:
        return _Unpickler(content, encoding="bytes").load()
    except Exception as error:  # damaged bytes can be any instruction, and fail in any way
        raise broken(path, f"is no whole pickle of images and labels: {error}") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the old protocol: as text, one character a byte."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


_new_array = np.empty(0).__reduce__()[0]  # numpy's own function; its module was renamed in numpy 2
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}
