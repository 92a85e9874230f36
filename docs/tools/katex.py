"""Where the site's KaTeX comes from: npm's package, or Debian's libjs-katex where there is no npm.

It is copied into the site, so that equations need no other host.
"""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "0.16.22"
DEBIAN = Path("/usr/share/javascript/katex")  # of libjs-katex
PARTS = ("katex.min.js", "katex.min.css")


def files(cache: Path) -> dict[str, Path]:
    """Return KaTeX's script, styles and fonts: path below its folder -> file.

    Args:
        cache: A folder that keeps what npm fetches, for the next time.

    Raises:
        FileNotFoundError: If neither npm nor Debian's package is there.
    """
    folder = _from_npm(cache) if shutil.which("npm") else DEBIAN
    if not (folder / PARTS[0]).exists():
        raise FileNotFoundError("KaTeX, for equations: install npm, or apt-get install libjs-katex")
    fonts = [f"fonts/{font.name}" for font in sorted((folder / "fonts").glob("*.woff2"))]
    return {name: folder / name for name in (*PARTS, *fonts)}


def _from_npm(cache: Path) -> Path:
    """Return the folder of npm's package, fetched once."""
    package = cache / f"katex-{VERSION}"
    if not package.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as room:
            subprocess.run(["npm", "pack", "--silent", f"katex@{VERSION}"], cwd=room, check=True)
            (file,) = Path(room).glob("*.tgz")
            with tarfile.open(file) as archive:
                archive.extractall(room, filter="data")
            (Path(room) / "package").rename(package)
    return package / "dist"
