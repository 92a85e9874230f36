"""What the tests of training share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rbp.runs.folder import RunFolder
from rbp.train import train
from tests.support.training import short


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    """In every test of this folder."""


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
