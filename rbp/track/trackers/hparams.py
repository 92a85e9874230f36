"""What TensorBoard's page of hyperparameters shows of a run: the keys that decide its result, and scores.

Written by hand in TensorBoard's format, as its own writer needs TensorFlow, and torch's would make a second
run of it, in a folder of its own.
"""

import time
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from rbp.config.dotted import leaves
from rbp.runs.differing import decides_nothing

# Tags of scalars that the page shows: the latest of each epoch, and figures of the result.
METRICS = ("test_acc", "val_acc", "train_loss", "firing_rate")
RESULTS = ("headline_acc", "best_test_acc", "step_seconds", "peak_memory_bytes", "energy_uj", "ann_energy_uj")


def hparams(config: dict[str, Any], commits: dict[str, str]) -> dict[str, bool | float | str]:
    """Return the keys of a config that decide the result, by their dotted names, and commits as git.NAME."""
    found = {key: _plain(value) for key, value in leaves(config) if not decides_nothing(key)}
    return found | {f"git.{name}": commit for name, commit in commits.items()}


def _plain(value: Any) -> bool | float | str:
    return value if isinstance(value, bool | int | float) else "null" if value is None else str(value)


def start_summary(values: dict[str, bool | float | str], name: str) -> list[Summary.Value]:
    """Return the summaries that a run begins with: which columns the page has, and the run's values."""
    columns = [api_pb2.HParamInfo(name=key, type=_type(value)) for key, value in values.items()]
    tags = [*METRICS, *(f"result/{key}" for key in RESULTS)]
    scores = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in tags]
    experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=scores)
    session = SessionStartInfo(group_name=name, start_time_secs=time.time())
    for key, value in values.items():
        if isinstance(value, bool):
            session.hparams[key].bool_value = value
        elif isinstance(value, str):
            session.hparams[key].string_value = value
        else:
            session.hparams[key].number_value = value
    return [
        _summary(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)),
        _summary(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=session)),
    ]


def end_summary(done: bool) -> Summary.Value:
    """Return the summary that a run ends with."""
    status = api_pb2.STATUS_SUCCESS if done else api_pb2.STATUS_FAILURE
    session = SessionEndInfo(status=status, end_time_secs=time.time())
    return _summary(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=session))


def _type(value: bool | float | str) -> Any:
    if isinstance(value, bool):
        return api_pb2.DATA_TYPE_BOOL
    return api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64


def _summary(tag: str, content: HParamsPluginData) -> Summary.Value:
    about = metadata.create_summary_metadata(content)
    return Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
