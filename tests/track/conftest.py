"""Trackers on, which are off in other tests, and patience for a busy machine."""

import pytest

from rbp.track import start


@pytest.fixture(autouse=True)
def tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(start, "PATIENCE", 120.0)
    monkeypatch.setattr(start, "PATIENCE_PREEMPTED", 120.0)
