"""What runs reached and cost, read from their folders and written side by side: page, tables, figures."""

from pathlib import Path


def write_report(paths: list[Path], out: Path | None = None, svg: bool = False) -> Path:
    """See rbp.report.write, which is loaded when it is needed."""
    from rbp.report.write import write_report as write

    return write(paths, out, svg)
