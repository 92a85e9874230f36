"""TensorBoard event files of a run; view them with tensorboard --logdir runs/SWEEP."""

import itertools
import shutil
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from rbp.runs.energy import acc_over_t
from rbp.runs.status import Status
from rbp.track.trackers.commits import commits_of
from rbp.track.trackers.hparams import end_summary, hparams, start_summary
from rbp.track.values import OVER_T, histogram, scalars, summary


class TensorboardRun:
    """Event files in the run folder's `tensorboard`, rewritten from metrics.jsonl by each process.

    They are written with tensorboard's own writer, since torch's would load torch into the process beside the
    run.
    """

    last_step = -1
    code = 0

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        place = folder / "tensorboard"
        shutil.rmtree(place, ignore_errors=True)
        self.writer = EventFileWriter(str(place))
        self.step = 0
        shown = hparams(config, commits_of(config, folder))
        self._write(start_summary(shown, folder.name))

    def log(self, line: dict[str, Any], epochs: int) -> None:
        """Write every number of the line and, at a few epochs, the histogram of firing rates.

        The x axis is the training step.
        """
        self.step = line["step"]
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(line).items()]
        if (found := histogram(line, epochs)) is not None:
            values.append(Summary.Value(tag="firing_rates", histo=_as_proto(*found)))
        self._write(values)

    def finish(self, status: Status, figures: dict[str, Any]) -> None:
        """Write the accuracy over t, the result's figures as scalars result/NAME, and how the run ended."""
        for t, accuracy in enumerate(acc_over_t(figures), 1):
            self._write([Summary.Value(tag=OVER_T, simple_value=accuracy)], step=t)
        found = summary(figures).items()
        values = [Summary.Value(tag=f"result/{tag}", simple_value=value) for tag, value in found]
        self._write([*values, end_summary(done=status.state == "done")])
        self.writer.close()

    def _write(self, values: list[Summary.Value], step: int | None = None) -> None:
        at = self.step if step is None else step
        self.writer.add_event(Event(wall_time=time.time(), step=at, summary=Summary(value=values)))
        self.writer.flush()


def _as_proto(counts: list[int], edges: list[float]) -> HistogramProto:
    """Convert a histogram to TensorBoard's format; sums are computed from the middles of the bins."""
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    total = sum(count * middle for count, middle in zip(counts, middles, strict=True))
    squares = sum(count * middle**2 for count, middle in zip(counts, middles, strict=True))
    return HistogramProto(
        min=edges[0],
        max=edges[-1],
        num=sum(counts),
        sum=total,
        sum_squares=squares,
        bucket_limit=edges[1:],
        bucket=counts,
    )
