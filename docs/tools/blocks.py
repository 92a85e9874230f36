"""The code blocks of a Markdown page, with the notes above them that say how a block is run.

Notes are HTML comments, each in the line above the block, so that readers do not see them:

    <!-- not run: it takes two minutes -->      the block is shown only
    <!-- run with: trainer=debug T=2 -->        these words are added to each `rbp train` of the block
    <!-- before: rbp train T=2 -->              runs first, unseen; in a Python block it is Python
    <!-- file: sweeps/mine.yaml -->             the block is the content of this file
    <!-- from: examples/lab/mylab/a.py -->      the block is that file, which the reader has at mylab/a.py
    <!-- fails -->                              each `rbp` of the block ends with another exit code than 0
    <!-- output -->                             the block is what the block above printed
    <!-- output but for numbers -->             the same, but numbers are of a machine and a day
    <!-- recorded: on two cores of ... -->      output that came once, and where
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

NOTES = (
    "not run",
    "run with",
    "before",
    "file",
    "from",
    "fails",
    "output",
    "output but for numbers",
    "recorded",
)
_NOTE = re.compile(r"<!--\s*(?P<name>[a-z ]+?)\s*(?::\s*(?P<value>.*?))?\s*-->", re.DOTALL)
_FENCE = re.compile(r"^```(?P<language>\w*)\s*$")


class Note(NamedTuple):
    """A note above a block: its name, and what stands after the colon."""

    name: str
    value: str


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        language: What the fence says, such as bash.
        code: The text between the fences.
        first: Number of the first line of the code in the page, from 0.
        notes: The notes above it.
    """

    language: str
    code: str
    first: int
    notes: list[Note] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """Return what the notes of a name say."""
        return [note.value for note in self.notes if note.name == name]

    def has(self, *names: str) -> bool:
        """Whether there is a note of one of these names."""
        return any(note.name in names for note in self.notes)


def blocks(page: str) -> list[Block]:
    """Return the fenced code blocks of a page, in order.

    Raises:
        ValueError: A fence is not closed, or a note above a block is unknown.
    """
    lines, found, above, n = page.splitlines(), [], [], 0
    while n < len(lines):
        if lines[n].startswith("<!--"):
            last = next(m for m in range(n, len(lines)) if "-->" in lines[m])
            above += _notes("\n".join(lines[n : last + 1]), n)
            n = last + 1
        elif opened := _FENCE.match(lines[n]):
            end = next((m for m in range(n + 1, len(lines)) if lines[m] == "```"), None)
            if end is None:
                raise ValueError(f"line {n + 1}: the code block is not closed")
            found.append(Block(opened["language"], "\n".join(lines[n + 1 : end]), n + 1, above))
            above, n = [], end + 1
        else:
            above, n = [], n + 1
    return found


def _notes(comment: str, line: int) -> list[Note]:
    note = _NOTE.fullmatch(comment.strip())
    if note is None or note["name"] not in NOTES:
        raise ValueError(f"line {line + 1}: {comment}: a note is one of {', '.join(NOTES)}")
    return [Note(note["name"], note["value"] or "")]


def indented_code(page: str) -> list[int]:
    """Return the numbers of lines that begin a code block by mere indentation, which nobody would run."""
    inside, found, previous = False, [], ""
    in_list = False
    for n, line in enumerate(page.splitlines()):
        if line.lstrip().startswith("```"):
            inside = not inside
        if line.strip() and not line.startswith(" "):
            in_list = bool(re.match(r"([-*]|\d+\.|!!!|\?\?\?) ", line))
        if not inside and not in_list and line.startswith("    ") and line.strip() and not previous.strip():
            found.append(n + 1)
        previous = line
    return found
