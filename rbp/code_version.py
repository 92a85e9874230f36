"""Which code computed a result: the version, and a hash of the source files themselves."""

import functools
import hashlib
from pathlib import Path

from rbp import __version__


@functools.cache
def code_version() -> dict[str, str]:
    """`version`, and `hash`: twelve hexadecimal digits over every source file of the package."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0")
        digest.update(file.read_bytes() + b"\0")
    return {"version": __version__, "hash": digest.hexdigest()[:12]}
