"""The runs below a folder as a pandas DataFrame, for analyses and figures of one's own."""

import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from rbp.errors import UserError
from rbp.report.comparison.groups import deduplicate
from rbp.report.read import read_runs
from rbp.report.texts.tidy import run_records

if TYPE_CHECKING:
    import pandas


def frame(*paths: str | PathLike[str]) -> "pandas.DataFrame":
    """Return the runs below folders of runs or sweeps, finished or not, as a DataFrame with a row a run.

    The columns are those of results.csv: what run it is, its state, every entry of result.json with a single
    value (missing until the run is done), operations and energies of an image (see docs/energy.md), its
    machine, and every key that decides a result, named as on the command line. A run that cannot be read is
    left out with a warning; one of two sweeps is there once.

    Args:
        paths: Folders such as "runs/quickstart" or "~/runs".

    Raises:
        UserError: No path is given or one is no folder, there are no runs, or pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UserError("rbp.runs needs pandas: pip install 'rbp-snn[pandas]'") from error
    if not paths:
        raise UserError('rbp.runs() needs folders of runs or sweeps, such as rbp.runs("runs/quickstart")')
    found, problems = read_runs([Path(path).expanduser() for path in paths])
    runs, doubles = deduplicate(found)
    for told in (*problems, *doubles):
        warnings.warn(told, stacklevel=3)  # the line that calls rbp.runs
    if not runs:
        raise UserError("\n".join(problems))
    return pandas.DataFrame(run_records(runs)).assign(folder=[str(run.folder) for run in runs])
