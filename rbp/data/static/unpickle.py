"""Read a pickled batch of images without letting it run code or allocate arbitrary amounts of memory.

A pickle can have any function of any module called, and numpy's own unpickling trusts the sizes that the file
claims. So only the stand-ins defined below are ever called.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rbp.data.files import broken, read


def unpickle(path: Path) -> dict[str, Any]:
    """Return the dict in a pickle file: numbers, lists, bytes, strings and uint8 arrays, by string keys.

    Raises:
        DataError: If the file is truncated, damaged or no pickle, or contains or refers to anything else.
    """
    content = io.BytesIO(read(path))
    try:
        held = _Unpickler(content, encoding="bytes").load()
    except Exception as error:  # damaged bytes can be any instruction and raise anything
        raise broken(path, f"is no whole pickle of images and labels: {error}") from error
    if not isinstance(held, dict):
        raise broken(path, f"holds a {type(held).__name__}; must hold a dict")
    return {_text(key): value.array if isinstance(value, _Array) else value for key, value in held.items()}


def _text(key: Any) -> str:
    """Return a key as a string: Python 2 strings load as bytes, a set rewritten today may have strings."""
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


class _DType:
    """Stand-in for numpy.dtype. Its code is enough: bytes have no byte order."""

    def __init__(self, code: bytes | str, align: int = False, copy: int = False) -> None:
        self.code = _text(code)

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stand-in for a numpy array, created empty; its state then brings shape, dtype and content."""

    array: np.ndarray | None = None

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_columns, content = state
        if dtype.code != "u1":
            raise pickle.UnpicklingError(f"it has an array of {dtype.code}; must be of u1 (uint8)")
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


def _encode(text: str, encoding: str) -> bytes:
    """Stand-in for _codecs.encode: old protocols store Python 3 bytes as text, one character per byte."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # its name since numpy 2
    ("numpy", "ndarray"): "ndarray",  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}


# The Python implementation, because the one in C allocates as much memory as a damaged file claims.
class _Unpickler(pickle._Unpickler):
    """An unpickler that resolves only the names in _STAND_INS."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _STAND_INS[module, name]
