"""The Tune side of a search: each class only passes Tune's calls on to the engine.

Tune pickles its searcher beside its own state; that state is never restored from (it loses rungs and trials), so the
adapters leave the engine out of their pickles. None is a Tune callback: told of one, Tune imports every tracker that is
installed (MLflow, W&B) to count how many callbacks are whose, which takes seconds.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher as TuneSearcher

from search.engine import Engine
from search.scheduler import Verdict
from trainables.job import REPORT

Tick = Callable[[Iterable[str]], None]

_NODE_DIED = "because its node has died"  # as Ray's head words it


class _Unpickled:
    def __getstate__(self) -> dict[str, Any]:
        return {}


class Suggestions(_Unpickled, TuneSearcher):
    """Hands the engine's assignments to Tune.

    Args:
        engine: The engine.
        tick: As for `Decisions`. While no trial runs and none may start, on a cluster without machines yet, Tune asks
            for trials up to ten minutes long and does nothing else.
    """

    def __init__(self, engine: Engine, tick: Tick) -> None:
        super().__init__()
        self._engine = engine
        self._tick = tick

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # Ray's own FINISHED is a string
        assignment = self._engine.suggest()
        if assignment is not None:
            return assignment.model_dump(mode="json")
        if self._engine.running:
            return None  # one may lose its worker and have to be handed out again
        self._tick(())
        return TuneSearcher.FINISHED if self._engine.is_exhausted else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the engine ended the trial when it took its last report."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the study is rebuilt from the run's measurements."""


class Decisions(_Unpickled, FIFOScheduler):
    """Lets the engine decide at every report, tells it of lost workers, and `tick`, again and again, of all trials.

    Args:
        engine: The engine.
        tick: Given the states of all of Tune's trials, as often as Tune looks for something to do.
    """

    def __init__(self, engine: Engine, tick: Tick) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._engine = engine
        self._tick = tick

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        # A trial that pauses gives up its worker; taken up again, it is a new trial to Tune, under its old number.
        # Tune's own pause would count against the trials it lets run at once, and stand still.
        verdict = self._engine.report(json.loads(result[REPORT]))
        decision: str = TrialScheduler.CONTINUE if verdict is Verdict.GO_ON else TrialScheduler.STOP
        return decision

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Its worker died."""
        text = str(trial.get_pickled_error() or trial.get_error() or "").strip()
        reason = text.splitlines()[-1] if text else "its worker died"
        self._engine.lose_worker(int(trial.config["trial"]), reason, with_node=_NODE_DIED in text)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """The trial for a warm worker that has become free: of those that wait, the one that was handed out last.

        Tune's own choice is the first, and throws away the worker that has been starting for it the longest. Where
        workers take longer to start than trials to run, some never got as far, and a cluster stayed half idle.
        """
        trials: list[TuneTrial] = tune_controller.get_trials()
        self._tick(each.status for each in trials)
        return next((trial for trial in reversed(trials) if trial.status == TuneTrial.PENDING), None)


class EndOfSession(_Unpickled, Stopper):
    """Ends all trials once the engine says that the session is over."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._engine.is_over


def folder_name(trial: TuneTrial) -> str:
    """Tune's folder for a trial: its number in the run."""
    return f"{trial.config['trial']:05d}"
