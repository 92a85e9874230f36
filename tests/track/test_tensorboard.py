"""TensorBoard's event files, read back with its own reader."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from rbp.config.identity import identity
from rbp.errors import ConfigError
from rbp.runs.start import write_start
from tests.support.configs import make
from tests.support.tracking import follow, line, new_run, with_steps


class Session(NamedTuple):
    name: str
    status: Any
    hparams: Any
    metric_values: Any


def test_scalars_and_histograms_over_a_requeue(tmp_path: Path) -> None:
    folder = new_run(tmp_path, "tensorboard", T=2)
    git = {"commit": "c" * 40, "changed": False}
    write_start(folder, {"launcher": {"name": "inline"}, "working_directory": "/somewhere", "git": git})
    assert follow(folder, range(1, 3), "preempted", lines=with_steps) == 0
    assert follow(folder, range(3, 5), lines=with_steps) == 0
    events = EventAccumulator(str(folder / "tensorboard"), {"histograms": 0}).Reload()
    assert [(e.step, e.value) for e in events.Scalars("test_acc")] == [
        (line(n)["step"], pytest.approx(line(n)["test_acc"])) for n in range(1, 5)
    ]
    assert events.Scalars("firing_rate/layer1.0.sn")[0].value == pytest.approx(0.1)
    assert [e.step for e in events.Histograms("firing_rates")] == [7, 14, 28]
    counts = events.Histograms("firing_rates")[0].histogram_value
    assert counts.num == 3 and sum(counts.bucket) == 3
    assert events.Scalars("result/best_test_acc")[0].value == pytest.approx(0.99)
    assert [e.step for e in events.Scalars("step_loss")] == [4, 7, 11, 14, 18, 21, 25, 28]
    assert [e.value for e in events.Scalars("grad_norm")] == [4.0, 7.0] * 4

    over_t = [(e.step, e.value) for e in events.Scalars("acc_over_t")]
    assert over_t == [(t, pytest.approx(a)) for t, a in ((1, 0.5), (2, 0.25), (3, 0.04))]
    energies = {
        key: events.Scalars(f"result/{key}")[0] for key in ("energy_uj", "ann_energy_uj", "additions")
    }
    assert {key: e.value for key, e in energies.items()} == pytest.approx(
        {"energy_uj": 1.5, "ann_energy_uj": 23.0, "additions": 1.5 / 0.9e-6}
    )
    assert {e.step for e in energies.values()} == {28}  # the last training step

    # As the page of hyperparameters asks for them, over all runs of a folder.
    (session,) = hparams_of(tmp_path)
    assert session.name == f"{folder.name}/tensorboard" and session.status == api_pb2.STATUS_SUCCESS
    values = session.hparams
    assert values["T"].number_value == 2 and values["dataset.name"].string_value == "digits"
    assert values["optimizer.lr"].number_value == 0.1 and values["git.started_in"].string_value == "c" * 40
    assert values["dataset.augment.flip"].bool_value is False
    assert not {"trainer.device", "runs_dir"} & {*values}
    scores = {metric.name.tag: metric.value for metric in session.metric_values}
    assert scores["test_acc"] == pytest.approx(0.04) and scores["result/headline_acc"] == pytest.approx(0.04)
    assert scores["result/energy_uj"] == 1.5
    assert [file.parent.name for file in folder.rglob("*tfevents*")] == ["tensorboard"]


@pytest.mark.parametrize("tracker", ["tensorboard", "none"])
def test_checkpoints_are_for_wandb_alone(tracker: str) -> None:
    with pytest.raises(ConfigError, match=f"tracker.checkpoints=true: only tracker=wandb .* not {tracker}"):
        make(f"tracker={tracker}", "tracker.checkpoints=true")
    assert identity(make("tracker.checkpoints=true")) == identity(make())


def hparams_of(folder: Path) -> list[Any]:
    """The sessions that TensorBoard's page of hyperparameters lists for the runs below a folder."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    asked = RequestContext()
    context = backend_context.Context(TBContext(data_provider=provider, flags=None))
    experiment = context.experiment_from_metadata(asked, "", True, context.hparams_metadata(asked, ""), [])
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING],
        slice_size=10,
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
        include_metrics=True,
    )
    found = list_session_groups.Handler(asked, context, "", request).run()
    return [
        Session(session.name, session.status, group.hparams, session.metric_values)
        for group in found.session_groups
        for session in group.sessions
    ]
