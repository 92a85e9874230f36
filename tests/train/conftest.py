"""What the tests of training share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rbp.runfolder import RunFolder
from rbp.train import train
from tests.train.common import short


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunFolder]:
    """overrides -> the folder of a short run that nothing disturbed: trained once, to be read only."""
    runs: dict[tuple[str, ...], RunFolder] = {}

    def trained(*overrides: str) -> RunFolder:
        if overrides not in runs:
            torch.set_num_threads(1)
            cfg, run = short(Path(tmp_path_factory.mktemp("undisturbed")), *overrides)
            train(cfg, run.path)
            runs[overrides] = run
        return runs[overrides]

    return trained
