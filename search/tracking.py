"""Trackers: trials and their measurements in MLflow or Weights & Biases as well, through Ray's own callbacks.

A tracker is told, never asked: what a run is lies in its folder. Ray's callbacks would tell it everything a worker is
handed and reports; these tell it the config that was asked for, and measurements by fidelity. A trial that goes on in a
later session is a further run of the tracker.
"""

import os
from importlib.util import find_spec
from typing import Any

from results.run_folder import RunFolder
from results.schema import Measurement
from search.plan import Plan
from spaces.errors import InputError
from spaces.joint import JointSpace, parse_config
from spaces.points import asked

_METRICS = tuple(
    name for name in Measurement.model_fields if name not in ("kind", "time", "trial", "val_recall", "checkpoint")
)


def check_tracker(plan: Plan) -> None:
    """Make sure that the plan's tracker is installed and, of MLflow, that its server or store answers.

    Raises:
        InputError: If it is not or does not.
    """
    if plan.track is None:
        return
    if find_spec(plan.track) is None:
        raise InputError(f"track: {plan.track} is not installed here; `pip install {plan.track}`, or leave `track` out")
    if plan.track == "mlflow":
        _check_mlflow()


def _check_mlflow() -> None:
    # Else a server that is down is asked for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import mlflow
    from mlflow.exceptions import MlflowException

    address = mlflow.get_tracking_uri()
    try:
        mlflow.MlflowClient().search_experiments(max_results=1)
    except MlflowException as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"track: mlflow does not answer at {address} ({reason}); MLFLOW_TRACKING_URI says where it is"
        ) from error


def tracking_callbacks(plan: Plan, run: RunFolder) -> list[Any]:
    """The callbacks of Ray that tell the plan's tracker; an experiment, or a group, is named after the run."""
    name = run.path.resolve().name
    if plan.track == "mlflow":
        import mlflow
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        telling = _telling(MLflowLoggerCallback, plan.space)
        return [telling(tracking_uri=mlflow.get_tracking_uri(), experiment_name=name)]
    if plan.track == "wandb":
        from ray.air.integrations.wandb import WandbLoggerCallback

        telling = _telling(WandbLoggerCallback, plan.space)
        return [telling(project=os.environ.get("WANDB_PROJECT", "fertune"), group=name)]
    return []


def _metrics(result: dict[str, Any]) -> dict[str, Any]:
    """What a tracker is told of a report; steps are fidelities."""
    found = {name: result[name] for name in _METRICS if result.get(name) is not None}
    return found | {"training_iteration": result.get("fidelity", 0)}


class _Told:
    """A trial as Ray's callbacks see it, with the parameters that were asked for as its config."""

    def __init__(self, trial: Any, space: JointSpace) -> None:
        self._trial = trial
        config = trial.config
        self.config = {"trial": config["trial"], "seed": config["seed"], **asked(space, parse_config(config["config"]))}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def __str__(self) -> str:
        return f"trial-{self.config['trial']:05d}-{self.config['family']}"

    def __hash__(self) -> int:
        return hash(self._trial)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Told) and bool(self._trial == other._trial)


def _telling(base: Any, space: JointSpace) -> Any:
    """A subclass of Ray's callback `base` that hears of trials of `space` as `_Told`."""

    class Telling(base):  # type: ignore[misc]
        def __getstate__(self) -> dict[str, Any]:
            return {}  # see tune_bridge

        def log_trial_start(self, trial: Any) -> None:
            super().log_trial_start(_Told(trial, space))

        def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
            super().log_trial_result(iteration, _Told(trial, space), _metrics(result))

        def log_trial_end(self, trial: Any, failed: bool = False) -> None:
            has_failed = failed or "failed" in (trial.last_result or {})
            super().log_trial_end(_Told(trial, space), has_failed)

    return Telling
