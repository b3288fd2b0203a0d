"""The searcher: an Optuna study over the conditional joint space, told the truth about stopped trials.

A trial that is stopped is told to Optuna as PRUNED with its value at its fidelity, so that TPE ranks it below every
trial of higher fidelity instead of taking an early score for a final one. The study lives in `study.journal` in the run
folder, and can be rebuilt at any time from the run's measurements.

With several objectives Optuna takes no intermediate values: a stopped trial is then PRUNED without a value, which TPE
ranks below all finished ones, and what it measured is kept in its attribute `measured`.
"""

import random
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FixedTrial, TrialState

from results.goals import MEASURES, broken_by
from results.leaderboard import TrialRecord
from results.schema import Measurement, Status
from search.plan import Plan
from search.proposals import proposals_for
from search.study_file import new_storage
from search.tpe import PLACE, WindowedTPE
from search.warm_start import EarlierTrial
from spaces.family import Family
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


class Suggestion(NamedTuple):
    """What to try next.

    Attributes:
        trial: Its number.
        config: Its config.
        is_drawn: Whether TPE, which otherwise learns, drew all of it, or all but its family, at random.
    """

    trial: int
    config: SvmConfig | ForestConfig | ResnetConfig
    is_drawn: bool


class Searcher:
    """Suggests configs and learns from their measurements.

    Trials of earlier runs stand at the head of the study; the run's own follow under their numbers, counted from there.
    """

    def __init__(
        self,
        path: Path | None,
        plan: Plan,
        past: Iterable[TrialRecord] = (),
        earlier: Sequence[EarlierTrial] = (),
    ) -> None:
        """Open a new study at `path`.

        Args:
            path: The journal file; an existing one is replaced, since `past` is the truth. None for a study that is
                kept in memory alone, for simulations.
            plan: Its points come first, then its start-up trials, of which known points are the first, then what its
                sampler suggests; its seed fixes the suggestions (exactly so only when trials run one at a time).
            past: The trials of earlier sessions of the run, numbered 0, 1, 2 .. in order.
            earlier: Trials of other runs; the best ones are tried first, and each takes the place of a start-up trial
                of its family.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        past = list(past)
        self._plan = plan
        self._space, self._goals = plan.space, plan.goals
        learned = list[SvmConfig | ForestConfig | ResnetConfig]()
        for config in (parse_config(trial.config) for trial in earlier if trial.is_point):
            if config not in (*learned, *plan.configs_of_points):  # several runs may have begun with the same ones
                learned.append(config)
        known = plan.known_configs([config.family for config in learned])
        self._points = (*plan.configs_of_points, *learned, *known)
        seed = plan.seed + len(past)  # a resumed search must not suggest its first trials again
        self._seed = seed
        self._proposals = proposals_for(plan, seed, len(self._points))
        self._sampler = _sampler(plan, seed, len(plan.points) + plan.startup_trials)
        self._study = optuna.create_study(
            study_name=path.parent.name if path else None,
            storage=new_storage(path) if path else None,
            sampler=self._sampler,
            directions=["maximize" if MEASURES[name] else "minimize" for name in self._goals.objectives]
            if self._is_multiple
            else ["maximize"],
        )
        if self._is_multiple:  # then the study has no place for a trial of which the order alone is known
            earlier = [trial for trial in earlier if trial.place is None]
        begun = [str(trial.config["family"]) for trial in earlier if not trial.is_point]
        self._startup = _startup(plan, [*begun, *(config.family for config in (*learned, *known))])
        self._running: dict[int, optuna.Trial] = {}
        self._measured: dict[int, list[Measurement]] = {}
        self._best: list[tuple[tuple[bool, bool, float, float], Family]] = []
        self._earlier = len(earlier)
        for trial in earlier:
            self._learn(trial)
        # The best last: CMA-ES goes on where the last ones were good.
        for number, trial in enumerate(reversed(earlier)):
            self._teach(number - len(earlier), trial)
        for record in past:
            self._replay(record)

    @property
    def _is_multiple(self) -> bool:
        return len(self._goals.objectives) > 1

    def ask(self, families: Sequence[Family] = ()) -> Suggestion | None:
        """Suggest the next trial; None if there is none left (a grid has an end).

        Points come first. Start-up trials then take the families in turn, so that each gets its share before the model
        chooses.

        Args:
            families: If given, one of them is to be tried, where the point or the start-up trial does not say which.
        """
        number = len(self._study.get_trials(deepcopy=False)) - self._earlier
        started = number - len(self._points)
        allowed = list(self._space.families)
        if started < 0:
            return self._ask_for(number, self._suggestions(self._points[number]).params)
        if self._plan.sampler != "grid" and started < len(self._startup):
            allowed = [self._startup[started]]
        elif families and set(families) < set(allowed):
            allowed = [self._preferred(families, number)] if self._plan.sampler != "grid" else list(families)
        if self._proposals is not None:
            proposed = self._proposals.propose(number, allowed)
            return None if proposed is None else self._ask_for(number, proposed, is_new=False)
        return self._ask_for(number, {"family": str(allowed[0])} if len(allowed) == 1 else {})

    def has_any(self, families: Sequence[Family]) -> bool:
        """Whether there may be a config of one of `families` to suggest yet."""
        return self._proposals is None or self._proposals.has_any(families)

    def _ask_for(self, number: int, fixed: dict[str, Any], is_new: bool = True) -> Suggestion:
        """Begin trial `number` with the parameters in `fixed`; the sampler chooses the rest.

        Args:
            number: The trial's number.
            fixed: Parameters by name.
            is_new: Whether the proposals have not heard of the trial.
        """
        if fixed:
            self._study.enqueue_trial(fixed)
        trial = self._study.ask()
        self._running[number], self._measured[number] = trial, []
        config = self._space.suggest(trial)
        if self._proposals is not None and is_new:
            self._proposals.add(number, parameters(config))
        sampler, is_given = self._sampler, bool(fixed.keys() - {"family"})
        is_drawn = isinstance(sampler, WindowedTPE) and not is_given and sampler.draws(self._study, trial.number)
        return Suggestion(number, config, is_drawn)

    def report(self, trial: int, measurement: Measurement) -> None:
        """Tell the study of a measurement of the running trial `trial`."""
        self._measured[trial].append(measurement)
        if not self._is_multiple:
            self._running[trial].report(self._goals.value(measurement), measurement.fidelity)

    def pause(self, trial: int, is_paused: bool = True) -> None:
        """Say whether the running `trial` waits at a rung, where it is learned from; in the study it stays RUNNING."""
        if isinstance(self._sampler, WindowedTPE):
            violations = self._constraints(self._measured[trial]) if is_paused else None
            self._sampler.pause(self._running[trial].number, violations)
        if self._proposals is not None and is_paused:
            self._proposals.pause(trial, self._reports(self._measured[trial]))

    def tell(self, trial: int, status: Status) -> None:
        """Tell the study that `trial` ended."""
        self.pause(trial, is_paused=False)
        running, measured = self._running.pop(trial), self._measured.pop(trial)
        for name, value in self._attributes(measured).items():
            running.set_user_attr(name, value)
        for name, value in self._constraints(measured).items():
            running.set_constraint(name, value)
        values = self._final(measured[-1]) if status is Status.FINISHED else None
        self._study.tell(running, values, state=_STATES[status])
        reports = self._reports(measured)
        self._note(Family(running.params["family"]), reports, self._constraints(measured))
        if self._proposals is not None:
            self._proposals.tell(trial, _STATES[status], reports)

    def _reports(self, measured: Sequence[Measurement]) -> dict[int, float]:
        return {each.fidelity: self._goals.value(each) for each in measured}

    def _final(self, measurement: Measurement) -> list[float]:
        return self._goals.values(measurement) if self._is_multiple else [self._goals.value(measurement)]

    def _attributes(self, measured: Sequence[Measurement]) -> dict[str, Any]:
        """What a trial's attributes say of its last measurement, where the study has no other place for it."""
        if not measured or not self._is_multiple:
            return {}
        return {"measured": [measured[-1].fidelity, *self._goals.values(measured[-1])]}

    def _constraints(self, measured: Sequence[Measurement]) -> dict[str, float]:
        """By how much the last measurement breaks each constraint."""
        if not measured:
            return {}
        return dict(zip(self._goals.constraints, self._goals.violations(measured[-1]), strict=True))

    def _note(self, family: Family, reports: dict[int, float], violations: dict[str, float]) -> None:
        """Note how good a trial of `family` was: by fidelity and value, or by how far it is from keeping the limits."""
        if reports:
            fidelity, broken = max(reports), broken_by(violations.values())
            rank = (False, -broken, 0.0) if broken else (True, float(fidelity), reports[fidelity])
            self._best.append(((True, *rank), family))

    def _preferred(self, families: Sequence[Family], number: int) -> Family:
        """One of `families`, drawn by how many of the best tenth of all trials (at least ten) each of them has.

        A random search draws each alike.
        """
        best = sorted(self._best, key=lambda each: each[0], reverse=True)[: max(10, len(self._best) // 10)]
        counts = Counter(family for _, family in best if self._plan.sampler != "random")
        source = random.Random(f"family {self._seed} {number}")  # noqa: S311 (no secret)
        return source.choices(list(families), [counts[family] + 1 for family in families])[0]

    def _learn(self, trial: EarlierTrial) -> None:
        """Put a trial of an earlier run at the head of the study."""
        fixed = self._suggestions(parse_config(trial.config))
        last = trial.reports[max(trial.reports)]
        self._study.add_trial(
            optuna.trial.create_trial(
                state=self._state(trial),
                params=fixed.params,
                distributions=fixed.distributions,
                intermediate_values={} if self._is_multiple else trial.reports,
                values=trial.values if self._is_multiple else [last],
                user_attrs={"earlier": True} if trial.place is None else {"earlier": True, PLACE: trial.place},
                constraints=trial.violations,
            )
        )
        family = Family(fixed.params["family"])
        if trial.place is None:
            self._note(family, trial.reports, trial.violations)
        else:  # after all whose measurements compare with this run's
            self._best.append(((False, True, 0.0, -trial.place), family))

    def _teach(self, number: int, trial: EarlierTrial) -> None:
        """Tell the proposals, if there are any, of a trial of an earlier run."""
        # A grid tries all that it has, and studies of families know no places.
        if self._proposals is not None and self._plan.sampler != "grid" and trial.place is None:
            self._proposals.add(number, parameters(parse_config(trial.config)))
            self._proposals.tell(number, self._state(trial), trial.reports)

    def _state(self, trial: EarlierTrial) -> TrialState:
        state = _STATES[trial.status]
        # A run begun by an older version did not keep all objectives of what it learned from.
        is_incomplete = self._is_multiple and trial.values is None
        return TrialState.PRUNED if is_incomplete and state is TrialState.COMPLETE else state

    def _replay(self, record: TrialRecord) -> None:
        """Add a trial of an earlier session: as it ended, or running again under the same number."""
        config = parse_config(dict(record.config))
        fixed = self._suggestions(config)
        number = len(self._study.get_trials(deepcopy=False)) - self._earlier
        if number != record.trial:
            raise RuntimeError(f"trial {record.trial} was replayed as {number}: the measurements skip a number")
        if record.status is Status.RUNNING:
            self._ask_for(number, fixed.params)
            for measurement in record.measurements:
                self.report(number, measurement)
            return
        reports = self._reports(record.measurements)
        final = self._final(record.measurements[-1]) if self._has_value(record) else None
        self._study.add_trial(
            optuna.trial.create_trial(
                state=_STATES[record.status],
                params=fixed.params,
                distributions=fixed.distributions,
                intermediate_values={} if self._is_multiple else reports,
                values=final,
                user_attrs=self._attributes(record.measurements),
                constraints=self._constraints(record.measurements),
            )
        )
        self._note(record.family, reports, self._constraints(record.measurements))
        if self._proposals is not None:
            self._proposals.add(number, parameters(config))
            self._proposals.tell(number, _STATES[record.status], reports)

    def _has_value(self, record: TrialRecord) -> bool:
        """Whether a trial has a value in the study: its last one if it was stopped, unless there are several."""
        is_told = record.status is Status.FINISHED or (record.status is Status.STOPPED and not self._is_multiple)
        return is_told and bool(record.measurements)

    def _suggestions(self, config: SvmConfig | ForestConfig | ResnetConfig) -> FixedTrial:
        """What the space asks for on the way to `config`, and its answers."""
        fixed = FixedTrial(parameters(config))
        self._space.suggest(fixed)
        return fixed


def _startup(plan: Plan, begun: Iterable[str]) -> list[Family]:
    """The families of the start-up trials, in turn: each has its share, less what was `begun` in their place."""
    families = plan.space.families
    left = [families[number % len(families)] for number in range(plan.startup_trials)]
    for family in begun:
        if family in left:
            left.remove(Family(family))
    return left


def _sampler(plan: Plan, seed: int, startup_trials: int) -> BaseSampler:
    """The sampler of the run's own study; where configs are proposed to it, it has nothing to choose."""
    if plan.sampler != "tpe":
        return RandomSampler(seed=seed)
    return WindowedTPE(seed, startup_trials)
