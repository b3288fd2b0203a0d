"""What TensorBoard's HPARAMS tab knows of a search: its columns, and the values of each trial.

TensorBoard takes the columns from one place and never looks again, so those of a conditional space are all told at the
start; a trial has no value in a column that its choices leave unused.
"""

from collections.abc import Iterable

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from results.leaderboard import TrialRecord
from results.schema import Status
from spaces.domain import FloatRange, IntRange
from spaces.joint import JointSpace, parse_config
from spaces.points import asked
from spaces.tree import Domain, domains_of

METRICS = {
    "validation/accuracy": "accuracy",
    "fidelity": "fidelity",
    "validation/macro_f1": "macro-F1",
    "validation/log_loss": "log-loss",
    "cost/total_seconds": "seconds",
}
"""The scalars that are columns, and what those are called."""

_STATUSES = {
    Status.RUNNING: api_pb2.STATUS_RUNNING,
    Status.FINISHED: api_pb2.STATUS_SUCCESS,
    Status.STOPPED: api_pb2.STATUS_SUCCESS,
    Status.FAILED: api_pb2.STATUS_FAILURE,
}


def columns(spaces: Iterable[JointSpace]) -> Summary:
    """The columns of one or several searches: the family, every parameter that one of them searches, the metrics."""
    domains: dict[str, list[Domain]] = {"family": []}
    for space in spaces:
        domains["family"].append(tuple(str(family) for family in space.families))
        for family in space.families:
            for name, domain in domains_of(space, family).items():
                if _is_searched(domain):
                    domains.setdefault(name, []).append(domain)
    experiment = api_pb2.Experiment(
        hparam_infos=[_column(name, found) for name, found in domains.items()],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=name) for tag, name in METRICS.items()
        ],
    )
    return _summary(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))


def trial_start(space: JointSpace, record: TrialRecord, time: float) -> Summary:
    """The values of a trial, which appear while it runs.

    Args:
        space: The space it was suggested from.
        record: The trial.
        time: Unix time in seconds at which it started.
    """
    start = SessionStartInfo(start_time_secs=time)
    for name, value in asked(space, parse_config(record.config)).items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = value
    return _summary(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))


def trial_end(status: Status, time: float) -> Summary:
    """How a trial ended, at `time`, Unix time in seconds; a trial that was stopped early counts as a success."""
    end = SessionEndInfo(status=_STATUSES[status], end_time_secs=time)
    return _summary(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _is_searched(domain: Domain) -> bool:
    return len(domain) > 1 if isinstance(domain, tuple) else domain.low < domain.high


def _column(name: str, domains: list[Domain]) -> api_pb2.HParamInfo:
    """The column of a parameter; where searches differ in its domain, that is all of theirs."""
    ranges = [domain for domain in domains if isinstance(domain, FloatRange | IntRange)]
    choices = list(dict.fromkeys(choice for domain in domains if isinstance(domain, tuple) for choice in domain))
    info = api_pb2.HParamInfo(name=name, differs=True)
    if ranges or all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices):
        info.type = api_pb2.DATA_TYPE_FLOAT64
        if ranges:
            bounds = [value for domain in ranges for value in (domain.low, domain.high)] + choices
            info.domain_interval.min_value, info.domain_interval.max_value = min(bounds), max(bounds)
            return info
    else:
        booleans = all(isinstance(choice, bool) for choice in choices)
        info.type = api_pb2.DATA_TYPE_BOOL if booleans else api_pb2.DATA_TYPE_STRING
    info.domain_discrete.extend(choices)
    return info


def _summary(tag: str, data: HParamsPluginData) -> Summary:
    """`data` as TensorBoard wants it: in the metadata of a value that means nothing."""
    value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])
