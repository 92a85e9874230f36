"""The report: accuracy and cost of runs, read from their folders and compared in a page, tables and figures.

`write` writes the report's files. `read` reads run folders, `comparison` finds out what is compared and
computes it, `figures` draws it, and `texts` writes the table and the runs as text. `page` is the page, with
`facts` and `sections` for its other parts; `paths` hides home folders. `frame` has runs as a pandas
DataFrame.
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
