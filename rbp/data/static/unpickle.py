"""Read a pickled batch of images without letting it run code or reserve memory.

A pickle can name any function of any module and have it called, and numpy's own way back from a pickle trusts
what it is told about memory. So nothing is called here but what stands below.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rbp.data.files import broken, read


def unpickle(path: Path) -> dict[str, Any]:
    """The dict that a file holds: of numbers, lists, bytes, strings, and arrays of bytes (uint8).

    Raises DataError for a file that is truncated, damaged or no pickle, or has or asks for anything else.
    """
    content = io.BytesIO(read(path))
    try:
        held = _Unpickler(content, encoding="bytes").load()
    except Exception as error:  # damaged bytes can be any instruction, and fail in any way
        raise broken(path, f"is no whole pickle of images and labels: {error}") from error
    if not isinstance(held, dict):
        raise broken(path, f"holds a {type(held).__name__}; must hold a dict")
    return {_text(key): value.array if isinstance(value, _Array) else value for key, value in held.items()}


def _text(key: Any) -> str:
    """Python 2's strings come as bytes; a set that somebody wrote anew may have strings."""
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


class _DType:
    """Stands for numpy.dtype: its name is enough, bytes have no byte order."""

    def __init__(self, code: bytes | str, align: int = False, copy: int = False) -> None:
        self.code = _text(code)

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands for a numpy array: made empty, then told its shape, type and content."""

    array: np.ndarray | None = None

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_columns, content = state
        if dtype.code != "u1":
            raise pickle.UnpicklingError(f"it has an array of {dtype.code}; must be of u1 (uint8)")
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the old protocol: as text, one character a byte."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # its name since numpy 2
    ("numpy", "ndarray"): "ndarray",  # only ever an argument of the above
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}


# The unpickler written in Python: the one in C reserves memory for whatever number a damaged file claims.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _STAND_INS[module, name]
