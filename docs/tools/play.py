"""Run the code blocks of a page in order, in one folder, as a reader would type them.

Commands of rbp run in this process, others in one of their own. What a page shows as output is what came.
"""

import contextlib
import glob
import io
import linecache
import os
import re
import shlex
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from docs.tools.blocks import Block, blocks
from rbp.cli import main

ROOT = Path(__file__).resolve().parents[2]
RUN = ("bash", "python")  # languages of blocks that are run
_NUMBER = re.compile(r"\d[\d,]*(\.\d+)?(e[-+]?\d+)?\**")
_HASH = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8}\b")


class BlockFailed(AssertionError):
    """A block of a page did not do what the page promises."""


class Player:
    """One page being run: its working folder is the process's, its Python names live from block to block."""

    def __init__(self, page: Path) -> None:
        self.page, self.printed = page, ""
        self.names: dict[str, Any] = {"__name__": "__page__"}

    def play(self) -> str:
        """Run all blocks and return the page with the outputs that came.

        Raises:
            BlockFailed: A block fails, or has no note and is of no language that is run.
        """
        text = self.page.read_text("utf-8")
        lines, results = text.splitlines(), [(block, self._result(block)) for block in blocks(text)]
        for block, code in reversed(results):
            lines[block.first : block.first + len(block.code.splitlines())] = code.splitlines()
        return "\n".join(lines) + "\n"

    def _result(self, block: Block) -> str:
        """Run a block; return its code, or what came if it is an output."""
        if block.has("output", "output but for numbers"):
            return shown(block, self.printed)
        if block.has("file", "from"):
            return _filed(block)
        if block.language in RUN and not block.has("not run"):
            self._run(block)
        return block.code

    def _run(self, block: Block) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            try:
                run = self._python if block.language == "python" else self._commands
                run(block)
            except BlockFailed as failed:
                told = f"{block.code}\n{out.getvalue()}\n{failed}".strip()
                raise BlockFailed(
                    f"{self.page.name}, line {block.first + 1}:\n{block.code}\n{told}"
                ) from failed
        self.printed = out.getvalue()

    def _python(self, block: Block) -> None:
        for code in (*block.values("before"), block.code):
            name = f"<{self.page.name}, {len(linecache.cache)}>"
            linecache.cache[name] = (
                len(code),
                None,
                code.splitlines(True),
                name,
            )  # for inspect and tracebacks
            try:
                exec(compile(code, name, "exec"), self.names)
            except Exception:
                raise BlockFailed(traceback.format_exc()) from None

    def _commands(self, block: Block) -> None:
        for line in block.values("before"):
            with contextlib.redirect_stdout(io.StringIO()):
                self._command(shlex.split(line), [])
        more = shlex.split(" ".join(block.values("run with")))
        for line in block.code.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                self._command(words, more, block.has("fails"))

    def _command(self, words: list[str], more: list[str], fails: bool = False) -> None:
        words = [found for word in words for found in (sorted(glob.glob(word)) or [word])]
        if words[:2] == ["python", "launch.py"]:
            words = ["rbp", "train", *words[2:]]
        if words[0] == "cd":
            os.chdir(words[1])
        elif words[0] == "rbp":
            _of_rbp(words[1:] + (more if words[1:2] == ["train"] else []), fails)
        elif words[0] == "python":
            _in_a_process([sys.executable, *words[1:]])
        else:
            raise BlockFailed(f"{words[0]}: is not run here; note above the block why: <!-- not run: ... -->")


def _filed(block: Block) -> str:
    """Write the file that a block is, and return its content."""
    code, (name, *_) = block.code, (*block.values("file"), *block.values("from"))
    if block.has("from"):
        code, name = (
            (ROOT / name).read_text("utf-8").rstrip(),
            Path(name).relative_to("examples/lab").as_posix(),
        )
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(code + "\n", "utf-8")
    return code


def shown(block: Block, printed: str) -> str:
    """Return what an output's block is to show: what is there, if it agrees with what came."""
    came = "\n".join(line.rstrip() for line in printed.rstrip().splitlines())
    if block.has("output but for numbers") and masked(came) == masked(block.code):
        return block.code
    return came


def masked(text: str) -> str:
    """Return a text without numbers, hashes and the spaces that their widths decide."""
    return re.sub(r"[ ]+", " ", _NUMBER.sub("#", _HASH.sub("#", text)))


def _of_rbp(words: list[str], fails: bool) -> None:
    code = main(words)
    if (code != 0) != fails:
        raise BlockFailed(f"rbp {shlex.join(words)}: exit code {code}")


def _in_a_process(words: list[str]) -> None:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=250
    )
    print(done.stdout + done.stderr, end="")
    if done.returncode != 0:
        raise BlockFailed(f"{shlex.join(words)}: exit code {done.returncode}")
