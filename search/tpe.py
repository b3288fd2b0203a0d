"""Optuna's TPE for searches of thousands of trials: a suggestion costs about the same, however many came before.

TPE as it comes models every group of parameters from all trials, the groups of other families included: the 2,000th
suggestion takes a tenth of a second. Here it chooses the family first and models that family's groups alone, which
changes nothing, since groups are modelled independently; and of many trials it sees the best and the latest. A third
of what it suggests is drawn at random within the family, lest it keep to what it knows.
"""

import copy
import heapq
import random
from collections import defaultdict, deque
from collections.abc import Container, Sequence
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from results.goals import broken_by

# TPE takes the best tenth of what it sees for its good ones, 25 at most, and gives older ones less and less weight.
BEST = 50
LATEST = 60  # of each family
# Of this share of the suggestions only the family is TPE's: without them a simulated search of five minutes found no
# more than one of two (decision 17).
RANDOM_SHARE = 1 / 3

Rank = tuple[bool, bool, float, float]

_FAMILY = "family"
# The attribute of trials of another run whose values do not compare with this one's: the share of trials that were
# better there.
PLACE = "place"
FEWEST_STRANGERS = 100  # twenty teach less: the best of the first ten trials 0.82 instead of 0.99 (docs/log.md)
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class WindowedTPE(BaseSampler):
    """TPE, grouped, multivariate and with constant liar, on a window of the study.

    The window holds all running trials, the best `BEST` and the latest `LATEST` of each family; with several objectives
    there is no order of trials, and it holds all of them. A `RANDOM_SHARE` of the trials gets all but its family at
    random; a share of random configs is from BOHB (Falkner, Klein and Hutter, ICML 2018), whose family would be, too.

    Args:
        seed: Fixes the suggestions.
        startup_trials: So many trials are drawn at random first.
    """

    def __init__(self, seed: int, startup_trials: int) -> None:
        # It would count the trials of the window, so start-up is counted here.
        self._tpe = TPESampler(multivariate=True, group=True, constant_liar=True, n_startup_trials=0, seed=seed)
        self._random, self._startup_trials, self._has_started = RandomSampler(seed=seed), startup_trials, False
        self._seed = seed
        self._window: tuple[int, Study] | None = None
        self._ranks: dict[int, Rank] = {}
        self._grouped: set[int] = set()
        self._paused: dict[int, dict[str, Any]] = {}

    def pause(self, number: int, violations: dict[str, float] | None) -> None:
        """Say whether the running trial `number` of the study waits at a rung: it then teaches what a stopped one does.

        TPE counts a running trial among the bad ones, so that others keep away from it.

        Args:
            number: The trial's number in the study.
            violations: By how much it breaks each constraint there; None if it does not wait.
        """
        self._paused.pop(number, None)
        if violations is not None:
            # The study itself is told of them only when the trial ends, for once told they stay.
            self._paused[number] = create_trial(state=TrialState.PRUNED, constraints=violations).system_attrs
        self._ranks.pop(number, None)  # what it ranked by at an earlier rung

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._is_starting_up(study):
            return {}
        # TPE adds what it is shown to the groups that it knows, so each trial has to be shown once.
        fresh = [each for each in self._trials(study) if each.number not in self._grouped]
        fresh = [each for each in fresh if each.state in _ENDED]
        self._grouped.update(each.number for each in fresh)
        space = self._tpe.infer_relative_search_space(_part(study, fresh), trial)
        if self._is_of_share(trial.number):
            return {name: each for name, each in space.items() if name == _FAMILY}
        return space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        seen, fixed = self._seen(study, trial), trial.system_attrs.get("fixed_params", {})
        first = {} if _FAMILY in fixed else {name: each for name, each in search_space.items() if name == _FAMILY}
        found = self._tpe.sample_relative(seen, trial, first)
        family = {**fixed, **found}.get(_FAMILY)
        own = {name: each for name, each in search_space.items() if name.startswith(f"{family}.")}
        return {**found, **self._tpe.sample_relative(seen, trial, own)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self._is_starting_up(study) or (self._is_of_share(trial.number) and param_name != _FAMILY):
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        return self._tpe.sample_independent(self._seen(study, trial), trial, param_name, param_distribution)

    def draws(self, study: Study, number: int) -> bool:
        """Whether what is not given of trial `number` of `study` is drawn at random, all but perhaps the family."""
        return self._is_starting_up(study) or self._is_of_share(number)

    def _is_of_share(self, number: int) -> bool:
        """Whether trial `number` is one of the `RANDOM_SHARE`: the same whenever it is asked."""
        return random.Random(f"drawn {self._seed} {number}").random() < RANDOM_SHARE  # noqa: S311 (no secret)

    def _is_starting_up(self, study: Study) -> bool:
        if not self._has_started:
            ended = sum(each.state in _ENDED for each in self._trials(study))
            self._has_started = ended >= self._startup_trials
        return not self._has_started

    def _trials(self, study: Study) -> list[FrozenTrial]:
        """The trials of `study`, those that wait at a rung as if they had been stopped there."""
        trials = study.get_trials(deepcopy=False)
        paused = self._paused
        return [_stopped(each, paused[each.number]) if each.number in paused else each for each in trials]

    def _seen(self, study: Study, trial: FrozenTrial) -> Study:
        """What TPE may see of `study` for the suggestion of `trial`."""
        if self._window is None or self._window[0] != trial.number:
            trials = self._trials(study)
            if len(study.directions) == 1:
                trials = window(_placed(trials, self._ranks), self._ranks)
            self._window = trial.number, _part(study, trials)
        return self._window[1]


class _Part:
    """A study that shows some of its trials, to samplers of Optuna, which ask for them by `_get_trials`."""

    def __init__(self, study: Study, trials: list[FrozenTrial]) -> None:
        self._study = study
        self._trials = trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def _part(study: Study, trials: list[FrozenTrial]) -> Study:
    return cast(Study, _Part(study, trials))


def _stopped(trial: FrozenTrial, attributes: dict[str, Any]) -> FrozenTrial:
    """`trial` as if it had ended where it waits, with the `attributes` of Optuna's that say what it breaks there."""
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    shown.system_attrs = {**trial.system_attrs, **attributes}
    return shown


def window(trials: Sequence[FrozenTrial], ranks: dict[int, Rank]) -> list[FrozenTrial]:
    """Those of `trials` that the model sees, in the order of their numbers.

    The best are those that TPE ranks first: those that break no constraint, of these complete ones by value,
    then pruned ones by the step that they reached and what they reported there; higher values are better. Those that
    break one follow, those that break it least first.

    Args:
        trials: All trials of the study.
        ranks: The ranks of ended trials by number, as far as they are known; the others are added.
    """
    latest: dict[str, deque[FrozenTrial]] = defaultdict(lambda: deque(maxlen=LATEST))
    running, ended = [], []
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            running.append(trial)
        elif trial.state in _ENDED:
            ended.append(trial)
            latest[trial.params[_FAMILY]].append(trial)
    best = heapq.nlargest(BEST, ended, key=lambda trial: _known(trial, ranks))
    chosen = [*running, *best, *(each for some in latest.values() for each in some)]
    return [each for _, each in sorted({trial.number: trial for trial in chosen}.items())]


def _placed(trials: list[FrozenTrial], ranks: dict[int, Rank]) -> list[FrozenTrial]:
    """`trials`, those with a place looking as the trial of this run at that place does, which all others rank.

    So they are among the best here if they were there: a transfer by quantiles, as Salinas, Shen and Perrone, "A
    Quantile-based Approach for Hyperparameter Transfer Learning", ICML 2020, do for Gaussian processes. Evenly over
    their places there are `FEWEST_STRANGERS` of them at most, or as many as of this run's own, so that they do not
    outweigh these for long.
    """
    strangers = sorted((trial for trial in trials if PLACE in trial.user_attrs), key=_place)
    if not strangers:
        return trials
    own = [trial for trial in trials if trial.state in _ENDED and PLACE not in trial.user_attrs]
    own.sort(key=lambda trial: _known(trial, ranks), reverse=True)
    count = min(len(strangers), max(len(own), FEWEST_STRANGERS))
    shown = {}
    for trial in (strangers[index * len(strangers) // count] for index in range(count)):
        shown[trial.number] = _like(trial, own[int(_place(trial) * len(own))] if own else None)
        ranks.pop(trial.number, None)  # it ranks anew with every trial of this run
    seen = (trial for trial in trials if trial.number in shown or PLACE not in trial.user_attrs)
    return [shown.get(trial.number, trial) for trial in seen]


def _place(trial: FrozenTrial) -> float:
    place: float = trial.user_attrs[PLACE]
    return place


def _like(trial: FrozenTrial, model: FrozenTrial | None) -> FrozenTrial:
    """`trial` as if it had ended as `model` did: with its values, and breaking the same constraints by as much.

    Without a model, with its place for a value.
    """
    shown = copy.copy(trial)
    if model is None:
        shown.intermediate_values = dict.fromkeys(trial.intermediate_values, -_place(trial))
        return shown
    shown.state, shown.values, shown.intermediate_values = model.state, model.values, model.intermediate_values
    shown.system_attrs = model.system_attrs  # where Optuna keeps constraints
    return shown


def _known(trial: FrozenTrial, ranks: dict[int, Rank]) -> Rank:
    if trial.number not in ranks:
        ranks[trial.number] = _rank(trial)
    return ranks[trial.number]


def _rank(trial: FrozenTrial) -> Rank:
    if broken := broken_by(trial.constraints.values()):
        return False, False, -1.0, -broken
    if trial.state is TrialState.COMPLETE:
        return True, True, 0.0, trial.values[0]
    step = trial.last_step
    return (True, False, -1.0, 0.0) if step is None else (True, False, float(step), trial.intermediate_values[step])
