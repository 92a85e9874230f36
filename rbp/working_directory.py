"""Let `_target_`s name packages of the working directory, as `python -m` does."""

import os
import sys


def import_from_here() -> None:
    """Add the working directory to the import path, after installed packages, unless Python runs isolated."""
    if not sys.flags.safe_path and os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
