"""What runs and builds the pages: blocks and their notes, outputs, links, the list of messages."""

from pathlib import Path

import pytest

from docs.tools import hooks
from docs.tools.blocks import Note, blocks, indented_code
from docs.tools.messages import messages, page
from docs.tools.play import BlockFailed, Player, masked
from rbp.config.composition.places import ROOT

PAGE = """# A page

<!-- before:
seen = []
-->
<!-- not run: it
takes hours -->
```python
seen.append(1)
```

```python
print(2 + 3)
```

<!-- output -->
```text
4
```
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "page.md"
    file.write_text(text)
    return file


def test_notes_belong_to_the_block_below_them() -> None:
    first, second, third = blocks(PAGE)
    assert first.notes == [Note("before", "seen = []"), Note("not run", "it\ntakes hours")]
    assert (first.code, second.notes, third.notes) == ("seen.append(1)", [], [Note("output", "")])


def test_an_unknown_note_or_an_open_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 1: <!-- nor run: x -->: a note is one of not run"):
        blocks("<!-- nor run: x -->\n```bash\nls\n```\n")
    with pytest.raises(ValueError, match="line 2: the code block is not closed"):
        blocks("text\n```bash\nls\n")


def test_what_came_takes_the_place_of_what_is_shown(here: Path) -> None:
    assert Player(written(here, PAGE)).play() == PAGE.replace("\n4\n", "\n5\n")


@pytest.mark.parametrize(
    "code",
    [
        "```bash\nrbp nothing\n```",
        "```bash\nls\n```",
        "```python\n1 / 0\n```",
        "<!-- fails -->\n```bash\nrbp --version\n```",
    ],
)
def test_a_block_that_does_not_do_what_it_promises_fails_its_page(code: str, here: Path) -> None:
    with pytest.raises(BlockFailed, match=r"page.md, line \d"):
        Player(written(here, f"{code}\n")).play()


def test_numbers_of_a_machine_may_differ_but_nothing_else() -> None:
    assert masked("a  1.5* 12,000 img/s") == masked("a 22 3 img/s") != masked("b 22 3 img/s")
    assert masked("T4-m-rate-s0-1a2b3c4d") == masked("T4-m-rate-s0-dd053299")


def test_code_by_indentation_is_found() -> None:
    assert indented_code("text\n\n    rbp train\n") == [3]
    assert indented_code("- a list\n\n    its second part\n\n```bash\n\n    x\n```\n") == []


def test_links_of_the_repository_become_those_of_the_site() -> None:
    assert (
        hooks.as_on_the_site("../results/dial/README.md", "docs/dial.md", "dial.md")
        == "results/dial/README.md"
    )
    assert hooks.as_on_the_site("docs/lab.md", "CHANGELOG.md", "changelog.md") == "lab.md"
    there = hooks.as_on_the_site("../../docs/dial.md", "results/dial/README.md", "results/dial/README.md")
    assert there == "../../dial.md"
    assert hooks.as_on_the_site("https://arxiv.org", "docs/dial.md", "dial.md") == "https://arxiv.org"


def test_messages_are_read_out_of_the_code() -> None:
    code = 'raise ConfigError(f"{key}={value}: must be " "less")\nraise ValueError("no user sees it")'
    assert list(messages(code)) == [("ConfigError", "{key}={value}: must be less")]
    shown = page(ROOT / "rbp")
    assert "its file system has no locks (flock)" in shown and shown.count("\n- ") > 250
