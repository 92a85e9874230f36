"""What mkdocs does beside reading docs/: files from elsewhere in the repository, links to them, and KaTeX.

A page's links are those that hold in the repository (and on its host's pages). Here they are turned into the
site's: `../results/dial/README.md` in docs/dial.md is the site's results/dial/README.md.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # mkdocs loads a hook as a file, not as a module of a package

from docs.tools import katex, messages  # noqa: E402

# Files of the repository that are pages of the site, beside those in docs/ and results/.
ELSEWHERE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
SHOWN, KINDS = ("results", "examples"), (".md", ".csv", ".svg", ".txt", ".py", ".yaml", ".html", ".json")
HERE = {page: file for file, page in ELSEWHERE.items()}
_LINK = re.compile(r"(\]\(|src=\")([^)\s\"#]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are elsewhere, what was measured, the examples, the list of messages, and KaTeX."""
    kept = [file for folder in SHOWN for file in sorted((ROOT / folder).rglob("*")) if file.suffix in KINDS]
    found = {site: ROOT / repository for repository, site in ELSEWHERE.items()}
    found |= {file.relative_to(ROOT).as_posix(): file for file in kept}
    found |= {f"assets/katex/{name}": file for name, file in katex.files(ROOT / "build").items()}
    for uri, path in found.items():
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    files.append(File.generated(config, "messages.md", content=messages.page(ROOT / "rbp")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page that hold in the repository into the site's."""
    uri = page.file.src_uri
    of = HERE.get(uri) or (uri if uri.partition("/")[0] in SHOWN else f"docs/{uri}")
    return _LINK.sub(lambda link: link[1] + as_on_the_site(link[2], of, uri), markdown)


def as_on_the_site(link: str, file: str, uri: str) -> str:
    """Return a link in a file of the repository as one of the page that it is on the site.

    Args:
        link: The link, without an anchor.
        file: Path of the file in the repository.
        uri: Path of the page's source on the site.
    """
    if "://" in link or link.startswith("mailto:"):
        return link
    target = posixpath.normpath(posixpath.join(posixpath.dirname(file), link))
    there = ELSEWHERE.get(target) or ("index.md" if target == "README.md" else target.removeprefix("docs/"))
    return posixpath.relpath(there, posixpath.dirname(uri) or ".")
