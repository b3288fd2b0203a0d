"""Schedulers: which trials go on at a rung, and which paused ones are taken up again.

Rungs are kept for each family by itself, so that a slow starter is compared with its like, or are shared by all; they
lie at fidelities, or at seconds spent. A resume rebuilds a scheduler by telling it of all measurements again, in their
order.
"""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from statistics import fmean, median

from search.plan import Plan
from spaces.family import Family
from spaces.fidelity import Fidelity

MEDIAN_NEEDS = 4
# With promotion: so many trials of each rung, besides those that deserve to go on, wait for their chance.
MOST_WAITING = 10

Rung = tuple[Family | None, float]


class Verdict(Enum):
    """What becomes of a trial after a report."""

    GO_ON = "go on"
    PAUSE = "pause"
    END = "end"


class Scheduler(ABC):
    """The rule by which trials stop or pause at rungs."""

    @abstractmethod
    def report(self, trial: int, family: Family, fidelity: int, value: float, seconds: float = 0.0) -> Verdict:
        """Record a measurement, and judge its trial.

        Args:
            trial: Its number.
            family: Its family.
            fidelity: The fidelity that was measured.
            value: What was measured, higher being better.
            seconds: Seconds the trial has spent in all.

        Raises:
            ValueError: If `fidelity` is not a rung: such a report could never stop a trial, and none would notice.
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

    def leave(self, trial: int) -> None:
        """Note that `trial` has ended."""
        return  # only paused trials need it

    @property
    def paused(self) -> frozenset[int]:
        """The trials that wait at a rung."""
        return frozenset()

    @property
    def passed_over(self) -> frozenset[int]:
        """Those of the paused trials that are to end, since they will hardly be taken up."""
        return frozenset()


class RungScheduler(Scheduler):
    """A scheduler that compares each measurement with the others at its rung.

    Attributes:
        rungs: What the rule compares with at each rung, in order of arrival. A rung is the family, None where all share
            it, and the fidelity or the seconds at which it lies.
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

    def report(self, trial: int, family: Family, fidelity: int, value: float, seconds: float = 0.0) -> Verdict:
        if fidelity not in self._scale.rungs:
            raise ValueError(f"fidelity {fidelity} is not a rung; rungs are {self._scale.rungs}")
        if fidelity == self._scale.maximum:
            self.leave(trial)
            return Verdict.END
        verdict = Verdict.GO_ON
        for level in self._reached(trial, fidelity, seconds):
            verdict = self._judge(trial, (None if self._shared else family, level), value)
        return verdict

    def _reached(self, trial: int, fidelity: int, seconds: float) -> list[float]:
        """The rungs at which `trial` has arrived since its last report."""
        if self._first_seconds is None:
            return [fidelity]
        level, passed = self._next_seconds.get(trial, self._first_seconds), []
        while level <= seconds:
            passed.append(level)
            level *= self._scale.eta
        self._next_seconds[trial] = level
        return passed

    @abstractmethod
    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        """What becomes of `trial` with `value` at `rung`; adds to the rung what later trials are compared with."""


class Asha(RungScheduler):
    """The stopping variant of asynchronous successive halving.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, section 3.2 and appendix: a trial
    that reaches a rung goes on if it is among the best 1/eta of all trials recorded there so far. Ours spares one that
    would be among them with `margin` more: measurements are noisy.
    """

    def __init__(
        self, scale: Fidelity, shared: bool = False, margin: float = 0.0, first_seconds: float | None = None
    ) -> None:
        super().__init__(scale, shared, first_seconds)
        self._margin = margin

    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        keep = goes_on(value + self._margin, self.rungs[rung], self._scale.eta)
        self.rungs[rung].append(value)
        return Verdict.GO_ON if keep else Verdict.END


class Promotion(RungScheduler):
    """The promoting variant of asynchronous successive halving.

    Li et al., section 3.2, algorithm 2: every trial pauses at a rung, and a free worker takes up the best one that is
    among the best 1/eta of its rung, at the highest rung that has one; only where none has does a new trial begin. So
    no worker continues a mediocre trial because it came first, and a trial that is passed over has its chance later.

    Ours does not let all wait for it, since each costs a checkpoint: of those that are not among the best 1/eta of a
    rung the best `MOST_WAITING` do. The next one would be taken up only if eta times as many more arrived, all worse.
    """

    def __init__(self, scale: Fidelity, shared: bool = False, first_seconds: float | None = None) -> None:
        super().__init__(scale, shared, first_seconds)
        self._entries: defaultdict[Rung, list[tuple[float, int]]] = defaultdict(list)
        self._paused: dict[int, Rung] = {}

    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        self.rungs[rung].append(value)
        self._entries[rung].append((value, trial))
        self._paused[trial] = rung
        return Verdict.PAUSE

    def promote(self, can_run: Callable[[int], bool], eager: bool) -> int | None:
        trial = next(filter(can_run, self._promotable(eager)), None)
        if trial is not None:
            del self._paused[trial]
        return trial

    def has_promotable(self, eager: bool) -> bool:
        return next(self._promotable(eager), None) is not None

    def leave(self, trial: int) -> None:
        self._paused.pop(trial, None)

    @property
    def paused(self) -> frozenset[int]:
        return frozenset(self._paused)

    @property
    def passed_over(self) -> frozenset[int]:
        found: list[int] = []
        for rung, entries in self._ranked():
            behind = [trial for _, trial in entries[len(entries) // self._scale.eta :]]
            waiting = [trial for trial in behind if self._paused.get(trial) == rung]
            found += waiting[MOST_WAITING:]
        return frozenset(found)

    def _promotable(self, eager: bool) -> Iterator[int]:
        """Trials that deserve to go on: highest rung first, best value first."""
        chosen: list[tuple[float, float, int]] = []
        for rung, entries in self._ranked():
            quota = max(len(entries) // self._scale.eta, int(eager))
            chosen += [(-rung[1], -value, trial) for value, trial in entries[:quota] if self._paused.get(trial) == rung]
        yield from (trial for _, _, trial in sorted(chosen))

    def _ranked(self) -> Iterator[tuple[Rung, list[tuple[float, int]]]]:
        """What was recorded at each rung, value and trial, best first."""
        for rung, entries in self._entries.items():
            yield rung, sorted(entries, key=lambda entry: (-entry[0], entry[1]))


class Hyperband(Scheduler):
    """Asynchronous Hyperband: brackets of ASHA, each of which judges trials from a higher rung on than the one before.

    Li et al., "Hyperband", JMLR 2018, gives the sizes of the brackets, by which trials are dealt out here; Li et al.,
    MLSys 2020, section 3.2, runs them side by side. A bracket that judges late keeps what starts slowly.
    """

    def __init__(self, brackets: Sequence[Scheduler], scale: Fidelity) -> None:
        """Deal trials out to `brackets`, which judge from the first, second .. rung on."""
        self._scale = scale
        self._brackets = brackets
        self._deal = [number for number, size in enumerate(bracket_sizes(scale)) for _ in range(size)]

    def report(self, trial: int, family: Family, fidelity: int, value: float, seconds: float = 0.0) -> Verdict:
        bracket = self.bracket(trial)
        if fidelity in self._scale.rungs and self._scale.rungs.index(fidelity) < bracket:
            return Verdict.GO_ON
        return self._brackets[bracket].report(trial, family, fidelity, value, seconds)

    def bracket(self, trial: int) -> int:
        """The bracket of `trial`: neighbours go to different ones, and each gets its share of every round."""
        count = len(self._deal)
        golden = round(0.382 * count)  # steps of the golden section spread neighbours as evenly as steps can
        stride = next(step for step in range(max(golden, 1), count + 2) if math.gcd(step, count) == 1)
        return self._deal[trial * stride % count]


class MedianStopping(RungScheduler):
    """The median stopping rule.

    Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.1: a trial stops if its
    best value so far is below the median of the means that earlier trials had over their rungs up to this one. Ours
    counts every trial that was at the rung, stopped ones too, and waits until `MEDIAN_NEEDS` were.
    """

    def __init__(self, scale: Fidelity, shared: bool = False, first_seconds: float | None = None) -> None:
        super().__init__(scale, shared, first_seconds)
        self._curves: defaultdict[int, list[float]] = defaultdict(list)

    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        curve, others = self._curves[trial], self.rungs[rung]
        curve.append(value)
        keep = len(others) < MEDIAN_NEEDS or max(curve) >= median(others)
        others.append(fmean(curve))
        return Verdict.GO_ON if keep else Verdict.END


class NoStopping(RungScheduler):
    """Every trial goes on to full fidelity."""

    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        return Verdict.GO_ON


def build_scheduler(plan: Plan) -> Scheduler:
    """The scheduler that `plan` names."""
    scale, shared = plan.fidelity, plan.rungs != "family"
    first_seconds = plan.first_seconds if plan.rungs == "seconds" else None
    if plan.scheduler == "hyperband":
        brackets = [Asha(scale, shared, plan.margin, first_seconds) for _ in scale.rungs]
        return Hyperband(brackets, scale)
    if plan.scheduler == "asha" and plan.promotion:
        return Promotion(scale, shared, first_seconds)
    if plan.scheduler == "asha":
        return Asha(scale, shared, plan.margin, first_seconds)
    return (MedianStopping if plan.scheduler == "median" else NoStopping)(scale, shared, first_seconds)


def goes_on(value: float, others: Sequence[float], eta: int) -> bool:
    """Whether `value` is among the best 1/eta of itself and `others`, higher being better.

    The best one always goes on, so that the first trial at a rung does; equals of a trial that goes on go on too.
    """
    better = sum(other > value for other in others)
    return better < max(1, (len(others) + 1) // eta)


def bracket_sizes(scale: Fidelity) -> list[int]:
    """How many trials each bracket of Hyperband begins with, the one that judges from the first rung on first.

    Bracket s of s_max .. 0 begins with ceil((s_max + 1) / (s + 1) * eta**s) trials (Li et al., JMLR 2018, algorithm 1).
    """
    highest = len(scale.rungs) - 1
    return [-(-(highest + 1) * scale.eta**s // (s + 1)) for s in range(highest, -1, -1)]
