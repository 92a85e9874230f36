"""TensorBoard's event files, read back with its own reader."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support.tracking import follow, line, new_run


def test_scalars_and_histograms_over_a_requeue(tmp_path: Path) -> None:
    folder = new_run(tmp_path, "tensorboard")
    assert follow(folder, range(1, 3), "preempted") == 0
    assert follow(folder, range(3, 5)) == 0
    events = EventAccumulator(str(folder / "tensorboard"), {"histograms": 0}).Reload()
    assert [(e.step, e.value) for e in events.Scalars("test_acc")] == [
        (line(n)["step"], pytest.approx(line(n)["test_acc"])) for n in range(1, 5)
    ]
    assert events.Scalars("firing_rate/layer1.0.sn")[0].value == pytest.approx(0.1)
    assert [e.step for e in events.Histograms("firing_rates")] == [7, 14, 28]
    counts = events.Histograms("firing_rates")[0].histogram_value
    assert counts.num == 3 and sum(counts.bucket) == 3
    assert events.Scalars("result/best_test_acc")[0].value == pytest.approx(0.99)
