"""The searcher: an Optuna study over the conditional joint space, told the truth about stopped trials.

A trial that is stopped is told to Optuna as PRUNED with its value at its fidelity, so that TPE ranks it below every
trial of higher fidelity instead of taking an early score for a final one. The study lives in `study.journal` in the run
folder, and can be rebuilt at any time from the run's measurements.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.trial import FixedTrial, TrialState

from results.leaderboard import TrialRecord
from results.schema import Status
from search.plan import Plan, Sampler
from search.study_file import StudyFile
from spaces.forest import ForestConfig
from spaces.joint import parse_config
from spaces.points import parameters
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig

_STATES = {
    Status.FINISHED: TrialState.COMPLETE,
    Status.STOPPED: TrialState.PRUNED,
    Status.FAILED: TrialState.FAIL,
}


class Searcher:
    """Suggests configs and learns from their measurements; Optuna's trial numbers are the run's trial numbers."""

    def __init__(self, path: Path, plan: Plan, past: Iterable[TrialRecord] = ()) -> None:
        """Open a new study at `path`.

        Args:
            path: The journal file; an existing one is replaced, since `past` is the truth.
            plan: Its points come first, then its start-up trials, then what its sampler suggests; its seed fixes the
                suggestions (exactly so only when trials run one at a time).
            past: The trials of earlier sessions of the run, numbered 0, 1, 2 .. in order.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        path.unlink(missing_ok=True)
        Path(f"{path}.lock").unlink(missing_ok=True)
        past = list(past)
        self._space = plan.space
        self._points = plan.configs_of_points
        self._startup_trials = plan.startup_trials
        seed = plan.seed + len(past)  # a resumed search must not suggest its first trials again
        self._study = optuna.create_study(
            study_name=path.parent.name,
            storage=JournalStorage(StudyFile(str(path))),
            sampler=_sampler(plan.sampler, seed, len(self._points) + plan.startup_trials),
            direction="maximize",
        )
        self._running: dict[int, optuna.Trial] = {}
        for record in past:
            self._replay(record)

    def ask(self) -> tuple[int, SvmConfig | ForestConfig | ResnetConfig]:
        """Suggest the next trial: its number and config.

        Points come first. Start-up trials then take the families in turn, so that each gets its share before the model
        chooses.
        """
        number = len(self._study.get_trials(deepcopy=False))
        started = number - len(self._points)
        if started < 0:
            self._study.enqueue_trial(self._suggestions(self._points[number]).params)
        elif started < self._startup_trials:
            families = self._space.families
            self._study.enqueue_trial({"family": str(families[started % len(families)])})
        trial = self._study.ask()
        self._running[trial.number] = trial
        return trial.number, self._space.suggest(trial)

    def report(self, trial: int, fidelity: int, value: float) -> None:
        """Tell the study of a measurement of the running trial `trial`."""
        self._running[trial].report(value, fidelity)

    def tell(self, trial: int, status: Status, value: float | None) -> None:
        """Tell the study that `trial` ended; `value` is its last measurement, if it has one."""
        values = value if status is Status.FINISHED else None
        self._study.tell(self._running.pop(trial), values, state=_STATES[status])

    def _replay(self, record: TrialRecord) -> None:
        """Add a trial of an earlier session: as it ended, or running again under the same number."""
        fixed = self._suggestions(parse_config(dict(record.config)))
        reports = {measurement.fidelity: measurement.val_accuracy for measurement in record.measurements}
        if record.status is Status.RUNNING:
            self._study.enqueue_trial(fixed.params)
            trial = self._study.ask()
            self._running[trial.number] = trial
            self._space.suggest(trial)
            number = trial.number
            for fidelity, value in reports.items():
                self.report(number, fidelity, value)
        else:
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=_STATES[record.status],
                    params=fixed.params,
                    distributions=fixed.distributions,
                    intermediate_values=reports,
                    value=None if record.status is Status.FAILED else record.val_accuracy,
                )
            )
            number = len(self._study.get_trials(deepcopy=False)) - 1
        if number != record.trial:
            raise RuntimeError(f"trial {record.trial} was replayed as {number}: the measurements skip a number")

    def _suggestions(self, config: SvmConfig | ForestConfig | ResnetConfig) -> FixedTrial:
        """What the space asks for on the way to `config`, and its answers."""
        fixed = FixedTrial(parameters(config))
        self._space.suggest(fixed)
        return fixed


def _sampler(name: Sampler, seed: int, startup_trials: int) -> BaseSampler:
    if name == "random":
        return RandomSampler(seed=seed)
    return TPESampler(multivariate=True, group=True, constant_liar=True, n_startup_trials=startup_trials, seed=seed)
