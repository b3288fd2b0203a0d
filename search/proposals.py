"""Where configs come from when the run's own study does not suggest them: a study for each family, or a grid.

The samplers `gp` and `cmaes` cannot model a conditional space: on the joint space Optuna's Gaussian process would see
the family alone, and CMA-ES nothing. Within a family they see what all its configs have; what only some have is drawn
at random (`gp`) or by TPE (`cmaes`, which cannot model choices either).
"""

import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from search.plan import Plan
from spaces.domain import FloatRange, IntRange
from spaces.family import Family
from spaces.grid import grid_of
from spaces.joint import JointSpace
from spaces.points import parameters
from spaces.tree import domains_of, parameters_of

# Of a network, what its frozen stages and the views of faces before them depend on.
_PREFIX_FIELDS = ("arch", "weights", "stem", "image_size", "unfreeze", "augment", "erasing")
OPEN_GROUPS = 4


class Proposals(ABC):
    """A source of configs, as the parameters that lead to them."""

    @abstractmethod
    def propose(self, number: int, families: Sequence[Family]) -> dict[str, Any] | None:
        """Parameters of trial `number`, of one of `families`; None if there are no more."""

    def has_any(self, families: Sequence[Family]) -> bool:
        """Whether there may be a config of one of `families` yet."""
        return True

    @abstractmethod
    def add(self, number: int, values: dict[str, Any]) -> None:
        """Take note of a trial that this source did not propose: a point, or one of an earlier session."""

    def pause(self, number: int, reports: dict[int, float]) -> None:
        """Take note that a trial waits at a rung, perhaps for good; `reports` are its measurements by fidelity."""
        return  # only what learns needs it

    @abstractmethod
    def tell(self, number: int, state: TrialState, reports: dict[int, float]) -> None:
        """Take note that a trial ended; `reports` are its measurements by fidelity."""


def proposals_for(plan: Plan, seed: int, points: int) -> Proposals | None:
    """What proposes configs to the study of a search by `plan`; None where the study's own sampler suggests them.

    Args:
        plan: The plan.
        seed: Fixes what is proposed, but for the order of a grid, which the plan's own seed does.
        points: How many trials are given, and take nothing from the grid's share of the budget.
    """
    if plan.sampler == "grid":
        is_sure = plan.scheduler == "none" and plan.budget.is_trials_alone
        return Grid(plan.space, plan.seed, sure=(plan.budget.trials or 0) - points if is_sure else 0)
    if plan.sampler in ("gp", "cmaes"):
        sampler = partial(gp, plan.space, plan.startup_trials) if plan.sampler == "gp" else partial(cmaes, plan.space)
        return FamilyStudies(plan.space, sampler, seed, plan.startup_trials)
    return None


class FamilyStudies(Proposals):
    """One study in memory for each family, and an allocator over families.

    The allocator is a study too, of the one choice that all trials share: TPE (univariate, with constant liar) suggests
    the family, from the same values at the same fidelities.
    """

    def __init__(
        self, space: JointSpace, sampler: Callable[[Family, int], BaseSampler], seed: int, startup_trials: int
    ) -> None:
        """Begin with empty studies; `sampler` makes that of a family, from a seed."""
        self._space = space
        self._families = list(space.families)
        allocator = TPESampler(constant_liar=True, n_startup_trials=startup_trials, seed=seed)
        self._allocator = optuna.create_study(sampler=allocator, direction="maximize")
        self._studies = {
            family: optuna.create_study(sampler=sampler(family, seed + 1 + place), direction="maximize")
            for place, family in enumerate(Family)
            if family in space.families
        }
        self._running: dict[int, tuple[optuna.Trial, optuna.Trial, optuna.Study]] = {}
        self._paused: dict[int, tuple[dict[str, Any], dict[int, float]]] = {}
        self._given: set[int] = set()

    def propose(self, number: int, families: Sequence[Family]) -> dict[str, Any]:
        return self._begin(number, families[0] if len(families) == 1 else None)

    def add(self, number: int, values: dict[str, Any]) -> None:
        family = Family(values["family"])
        self._studies[family].enqueue_trial(values)
        self._begin(number, family)
        self._given.add(number)

    def _begin(self, number: int, given: Family | None) -> dict[str, Any]:
        """Begin trial `number` of the family that is `given`, or of one that the allocator chooses."""
        if given is not None:
            self._allocator.enqueue_trial({"family": str(given)})
        chosen = self._allocator.ask()
        family = Family(chosen.suggest_categorical("family", [str(each) for each in self._families]))
        study = self._studies[family]
        trial = study.ask()
        config = self._space.model_copy(update={"families": (family,)}).suggest(_WithoutFamily(trial, family))
        self._running[number] = (chosen, trial, study)
        return parameters(config)

    def pause(self, number: int, reports: dict[int, float]) -> None:
        """Learn from what it has: most paused trials never go on, and one that seems to run counts as a bad one."""
        self._take_up(number)
        chosen, trial, _ = self._running[number]
        self._paused[number] = {**chosen.params, **trial.params}, reports
        self._tell(number, TrialState.PRUNED, reports)

    def tell(self, number: int, state: TrialState, reports: dict[int, float]) -> None:
        if state is TrialState.PRUNED and number in self._paused and self._paused[number][1] == reports:
            del self._paused[number]  # passed over: all of it is known
            return
        self._take_up(number)
        self._tell(number, state, reports)

    def _take_up(self, number: int) -> None:
        """Begin a paused trial again, for Optuna reopens none; of others nothing is done."""
        if number in self._paused:
            self.add(number, self._paused.pop(number)[0])

    def _tell(self, number: int, state: TrialState, reports: dict[int, float]) -> None:
        chosen, trial, study = self._running.pop(number)
        if number in self._given and isinstance(study.sampler, CmaEsSampler):
            # It learns only from trials that it was asked for: this makes the values one of its present generation.
            _ = trial.relative_params
        self._given.discard(number)
        value = reports[max(reports)] if state is TrialState.COMPLETE else None
        for fidelity, each in reports.items():
            chosen.report(each, fidelity)
            trial.report(each, fidelity)
        self._allocator.tell(chosen, value, state=state)
        study.tell(trial, value, state=state)


class _WithoutFamily:
    """A trial of a family's own study, which need not be asked for the family."""

    def __init__(self, trial: optuna.Trial, family: Family) -> None:
        self._trial = trial
        self._family = family

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return str(self._family) if name == "family" else self._trial.suggest_categorical(name, choices)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return self._trial.suggest_float(name, low, high, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return self._trial.suggest_int(name, low, high, log=log)


class Grid(Proposals):
    """Every config of a space whose values are listed, in an order that the seed fixes.

    The order is random, so that wherever a search ends it has tried a fair sample. Where it is sure to try all, and to
    stop none of them for how they compare with those before, configs that share work are brought near each other.
    """

    def __init__(self, space: JointSpace, seed: int, sure: int = 0) -> None:
        """List the configs of `space`; so many, in whatever order, are `sure` to be tried to the end."""
        self._left = grid_of(space)
        random.Random(seed).shuffle(self._left)  # noqa: S311 (no secret)
        if sure >= len(self._left):
            self._left = near_each_other(self._left)

    def has_any(self, families: Sequence[Family]) -> bool:
        return any(values["family"] in families for values in self._left)

    def propose(self, number: int, families: Sequence[Family]) -> dict[str, Any] | None:
        for place, values in enumerate(self._left):
            if values["family"] in families:
                return self._left.pop(place)
        return self._left.pop(0) if self._left else None

    def add(self, number: int, values: dict[str, Any]) -> None:
        if values in self._left:
            self._left.remove(values)

    def tell(self, number: int, state: TrialState, reports: dict[int, float]) -> None:
        """Nothing: a grid does not learn."""


def near_each_other(configs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Configs, as parameters, in an order in which those that share features or a frozen prefix lie together.

    `OPEN_GROUPS` groups of such configs take turns: were it one, all workers would wait for the first to compute what
    they share; were it all, the cache would have to hold everything to the end.
    """
    groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for config in configs:
        groups[_shared_by(config)].append(config)
    waiting, found = list(groups.values()), list[dict[str, Any]]()
    taking_turns, waiting = waiting[:OPEN_GROUPS], waiting[OPEN_GROUPS:]
    while taking_turns:
        group = taking_turns.pop(0)
        found.append(group.pop(0))
        if group:
            taking_turns.append(group)
        elif waiting:
            taking_turns.append(waiting.pop(0))
    return found


def _shared_by(config: dict[str, Any]) -> str:
    """What of `config` decides with which others it shares work: its features, or what its frozen stages see."""
    family = config["family"]
    if family == Family.RESNET:
        return str([config[f"{family}.{field}"] for field in _PREFIX_FIELDS])
    names = sorted(name for name in config if name.startswith(f"{family}.features."))
    return str([(name.removeprefix(f"{family}."), config[name]) for name in names])


def gp(space: JointSpace, startup_trials: int, family: Family, seed: int) -> BaseSampler:
    """A Gaussian process for `family`; it learns from trials at full fidelity alone, of which it needs its share."""
    startup_trials = -(-startup_trials // len(space.families))
    return GPSampler(seed=seed, n_startup_trials=startup_trials, warn_independent_sampling=False)


def cmaes(space: JointSpace, family: Family, seed: int) -> BaseSampler:
    """CMA-ES over the numbers of `family`, TPE over the choices; a stopped trial counts with its last measurement."""
    domains = domains_of(space, family)
    numbers = dict[str, BaseDistribution]()
    for name in (parameter.name for parameter in parameters_of(space, family) if not parameter.when):
        domain = domains[name]
        if not isinstance(domain, tuple) and domain.low < domain.high:
            numbers[name] = _distribution(domain)
    return _CmaEsOverNumbers(numbers, seed)


def _distribution(domain: FloatRange | IntRange) -> BaseDistribution:
    if isinstance(domain, FloatRange):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    return IntDistribution(domain.low, domain.high, log=domain.log)


class _CmaEsOverNumbers(CmaEsSampler):
    """CMA-ES over given parameters, which all trials have.

    Optuna's own takes those that all completed trials share. These change as trials complete, upon which it gives up;
    and it fails where a stopped trial lacks one of them.
    """

    def __init__(self, numbers: dict[str, BaseDistribution], seed: int) -> None:
        choices = TPESampler(seed=seed, constant_liar=True, multivariate=False)
        super().__init__(
            seed=seed, independent_sampler=choices, warn_independent_sampling=False, consider_pruned_trials=True
        )
        self._numbers = numbers

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._numbers
