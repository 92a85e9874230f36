"""What the tests of sweeps share."""

from pathlib import Path

import pytest

from rbp.config.composition import places


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sweep files of our own."""
    folder = tmp_path_factory.mktemp("sweeps")
    monkeypatch.setattr(places, "SWEEPS", folder)
    return folder
