"""The interface of schedulers, which say what goes on at a rung, and ASHA.

Rungs are kept for each family by itself, so that a slow starter is compared with its like, or are shared by all; they
lie at fidelities, or at seconds spent. Trials that were drawn at random where others are suggested by what was learned
are compared among themselves, and so are the others, as soon as there are some of the kind. A resume rebuilds a
scheduler by telling it of all measurements again, in their order.
"""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar

from search.foresight import NEEDS, Foresight, most_going_on
from spaces.family import Family
from spaces.fidelity import Fidelity

T = TypeVar("T")


class Rung(NamedTuple):
    """Where trials are compared.

    Attributes:
        family: The family, None where all share it.
        level: The fidelity, or the seconds spent.
        is_within: Whether of those that keep the constraints, or of those that do not.
        is_drawn: Whether of those that were drawn at random, or of those that were not; None where both are meant.
    """

    family: Family | None
    level: float
    is_within: bool
    is_drawn: bool | None

    @property
    def whole(self) -> "Rung":
        """This rung for those that were drawn and those that were not."""
        return self._replace(is_drawn=None)


def at(rung: Rung, kept: Mapping[Rung, Sequence[T]]) -> list[T]:
    """What is `kept` of each kind at `rung`: of both if it is a whole one."""
    kinds = (False, True) if rung.is_drawn is None else (rung.is_drawn,)
    return [each for kind in kinds for each in kept.get(rung._replace(is_drawn=kind), ())]


class Report(NamedTuple):
    """What a scheduler hears of a trial.

    Attributes:
        trial: Its number.
        family: Its family.
        fidelity: The fidelity that was measured.
        value: What was measured, higher being better.
        seconds: Seconds the trial has spent in all, waits for shared work left out.
        left: Seconds that the search has left.
        is_within: Whether the trial keeps the constraints; it is compared only with those of which that is as true.
        is_drawn: Whether it was drawn at random where others are suggested by what was learned.
    """

    trial: int
    family: Family
    fidelity: int
    value: float
    seconds: float = 0.0
    left: float = math.inf
    is_within: bool = True
    is_drawn: bool = False


class Learned(NamedTuple):
    """A margin that is learned.

    Attributes:
        faces: How many validation faces the values are measured on, where they lie between 0 and 1; 0 if they do not,
            or nobody knows.
    """

    faces: int = 0


LEARNING_SHARE = 0.2
# With which power of the fidelity what a trial has spent grows: machines compare each image with each.
GROWTH = {Family.SVM: 2, Family.FOREST: 1, Family.RESNET: 1}


class Verdict(Enum):
    """What becomes of a trial after a report."""

    GO_ON = "go on"
    PAUSE = "pause"
    END = "end"


class Scheduler(ABC):
    """The rule by which trials stop or pause at rungs."""

    @abstractmethod
    def report(self, report: Report) -> Verdict:
        """Record a measurement, and judge its trial.

        Raises:
            ValueError: If its fidelity is not a rung: such a report could never stop a trial, and none would notice.
        """

    def promote(self, can_run: Callable[[int], bool], eager: bool) -> int | None:
        """Take up a paused trial again; None if there is none to take up.

        Args:
            can_run: Whether a trial may start now.
            eager: Whether the best at each rung goes on however few are there: no more trials will come.
        """
        return None

    def has_promotable(self, eager: bool) -> bool:
        """Whether `promote` would take up a trial if all could run."""
        return False

    def take_up(self, trial: int) -> None:
        """Note that the paused `trial` goes on."""
        return  # only promotion pauses

    def leave(self, trial: int) -> None:
        """Note that `trial` has ended."""
        return  # only paused trials need it

    @property
    def paused(self) -> frozenset[int]:
        """The trials that wait at a rung."""
        return frozenset()

    def deserving(self, eager: bool) -> frozenset[int]:
        """Those of the paused trials that `promote` would take up."""
        return frozenset()

    @property
    def passed_over(self) -> frozenset[int]:
        """Those of the paused trials that are to end, since they will hardly be taken up."""
        return frozenset()


class RungScheduler(Scheduler):
    """A scheduler that compares each measurement with the others at its rung.

    Attributes:
        rungs: What the rule compares with at each rung, of each kind by itself, in order of arrival.
    """

    def __init__(self, scale: Fidelity, shared: bool = False, first_seconds: float | None = None) -> None:
        """Begin with empty rungs.

        Args:
            scale: The scale of fidelities.
            shared: Whether families share rungs.
            first_seconds: If given, rungs lie where a trial has spent this many seconds, eta times as many, and so on;
                a trial that passes several from one report to the next is recorded at each, and judged at the last.
        """
        self._scale = scale
        self._shared = shared
        self._first_seconds = first_seconds
        self._next_seconds: dict[int, float] = {}
        self.rungs: defaultdict[Rung, list[float]] = defaultdict(list)

    def report(self, report: Report) -> Verdict:
        if report.fidelity not in self._scale.rungs:
            raise ValueError(f"fidelity {report.fidelity} is not a rung; rungs are {self._scale.rungs}")
        verdict = Verdict.GO_ON
        for level in self._reached(report):
            rung = Rung(None if self._shared else report.family, level, report.is_within, report.is_drawn)
            verdict = self._judge(report.trial, rung, report.value)
        if report.fidelity == self._scale.maximum:
            self.leave(report.trial)
            return Verdict.END
        return verdict

    def _reached(self, report: Report) -> list[float]:
        """The levels at which a trial has arrived since its last report."""
        if self._first_seconds is None:
            return [report.fidelity] if report.fidelity < self._scale.maximum else []
        level, passed = self._next_seconds.get(report.trial, self._first_seconds), []
        while level <= report.seconds:
            passed.append(level)
            level *= self._scale.eta
        self._next_seconds[report.trial] = level
        return passed

    def _others(self, rung: Rung, least: int) -> list[float]:
        """What a trial that arrives at `rung` is compared with: its kind, or all if fewer than `least` of it came."""
        kind = at(rung, self.rungs)
        return kind if len(kind) >= least else at(rung.whole, self.rungs)

    @abstractmethod
    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        """What becomes of `trial` with `value` at `rung`; adds to the rung what later trials are compared with."""


class Asha(RungScheduler):
    """The stopping variant of asynchronous successive halving.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, section 3.2 and appendix: a trial
    that reaches a rung goes on if it is among the best 1/eta of all trials recorded there so far. Ours spares one that
    would be among them with a margin more, since a single comparison is noisy. By default the margin is learned, for
    each rung by itself, from how well the trials that went on were foretold by it (`Foresight`): the first few all go
    on, unless that would take more than `LEARNING_SHARE` of what is left of the search, and then, however little a rung
    foretells, none of the worst third. A learned margin is never less than chance makes of two models that are as good.
    It is learned from drawn trials and others alike, though these are compared among themselves.
    """

    def __init__(
        self, scale: Fidelity, shared: bool = False, margin: float | Learned = 0.0, first_seconds: float | None = None
    ) -> None:
        """Begin with empty rungs.

        Args:
            scale: The scale of fidelities.
            shared: Whether families share rungs.
            margin: The margin.
            first_seconds: As for any `RungScheduler`.
        """
        super().__init__(scale, shared, first_seconds)
        self._margin = margin
        self._foresight: defaultdict[Rung, Foresight] = defaultdict(Foresight)  # of whole rungs
        self._passed: defaultdict[int, list[tuple[Rung, float]]] = defaultdict(list)
        self._may_learn = True

    def report(self, report: Report) -> Verdict:
        for rung, earlier in self._passed.pop(report.trial, []):
            if rung.is_within is report.is_within:
                self._foresight[rung].add(earlier, report.value)
            else:  # they are of different units
                self._foresight[rung].pass_by()
        seconds_to_next = (self._scale.eta ** GROWTH[report.family] - 1) * report.seconds
        self._may_learn = seconds_to_next <= LEARNING_SHARE * report.left
        return super().report(report)

    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        # Fewer have no best third.
        keep = self._spares(value, self._others(rung, least=self._scale.eta - 1), rung)
        self.rungs[rung].append(value)
        if keep:
            self._passed[trial].append((rung.whole, value))
        return Verdict.GO_ON if keep else Verdict.END

    def _spares(self, value: float, others: Sequence[float], rung: Rung) -> bool:
        is_learned = isinstance(self._margin, Learned)
        if is_learned and len(at(rung.whole, self.rungs)) < NEEDS and self._may_learn:
            return True
        better = sum(other > value for other in others)
        is_among_most = not is_learned or better < most_going_on(len(others) + 1)
        return is_among_most and goes_on(value + self._margin_at(rung, value), others, self._scale.eta)

    def _margin_at(self, rung: Rung, value: float) -> float:
        """How far a trial may be behind the bar at `rung`, its value or the bar being `value`.

        A learned margin is one standard error of the difference of two such values at least, as if they were shares of
        different faces. A fixed one is in units of the objective, and spares none that are compared by something else.
        """
        if not isinstance(self._margin, Learned):
            return self._margin if rung.is_within else 0.0
        faces = self._margin.faces if rung.is_within else 0
        chance = math.sqrt(2 * value * (1 - value) / faces) if faces else 0.0
        return max(self._foresight[rung.whole].margin, chance)

    def leave(self, trial: int) -> None:
        self._passed.pop(trial, None)


def goes_on(value: float, others: Sequence[float], eta: int) -> bool:
    """Whether `value` is among the best 1/eta of itself and `others`, higher being better.

    The best one always goes on, so that the first trial at a rung does; equals of a trial that goes on go on too.
    """
    better = sum(other > value for other in others)
    return better < max(1, (len(others) + 1) // eta)
