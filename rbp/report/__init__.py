"""The report: accuracy and cost of runs, read from their folders and compared in a page, tables and figures.

`write` writes the report's files. `read` reads run folders. `settings` has the keys by which runs differ,
`axes` decides what is compared, and `groups` groups runs for it. `rows` computes the table, with `costs`
(time and memory) and `statistics` (means and paired differences); `texts` writes it as text. `facts` and
`sections` are the other parts of the page, `page` is the page itself, and `paths` hides home folders.
`figures` has the figures.
"""

from pathlib import Path


def write_report(
    paths: list[Path],
    out: Path | None = None,
    svg: bool = False,
    compare: str | None = None,
    base: str | None = None,
    x: str | None = None,
) -> Path:
    """Write the report (see rbp.report.write.write_report, which is imported only when needed)."""
    from rbp.report.write import write_report as write

    return write(paths, out, svg, compare, base, x)
