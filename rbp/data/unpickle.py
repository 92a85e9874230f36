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


# The unpickler written in Python: a damaged file makes the one in C reserve memory for whatever it claims.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def _new_array(*_: Any) -> np.ndarray:
    """What numpy begins with; shape, type and content follow in the file, and numpy sets and checks them."""
    return np.empty(0, np.uint8)


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the old protocol: as text, one character a byte."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,  # since numpy 2
    ("numpy", "ndarray"): "ndarray",  # only named, as an argument of the above
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}
