"""The report: accuracy and cost of runs, read from their folders and compared in a page, tables and figures.

`write` writes the report's files. `read` reads run folders, `compare` groups runs into comparisons, `costs`
compares time and memory, and `statistics` computes means and paired differences. `table` and `texts` make the
headline table and its text forms, `facts` and `sections` the other parts of the page, and `page` the page
itself, with `paths` as a reader needs them. `figures` has the figures.
"""

from pathlib import Path


def write_report(paths: list[Path], out: Path | None = None, svg: bool = False) -> Path:
    """Write the report (see rbp.report.write.write_report, which is imported only when needed)."""
    from rbp.report.write import write_report as write

    return write(paths, out, svg)
