"""Schedulers: which trials go on at a rung.

Rungs are kept for each family by itself, so that a slow starter is compared with its like, or are shared by all.
A resume rebuilds a scheduler by telling it of all measurements again, in their order.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, median

from search.plan import Plan
from spaces.family import Family
from spaces.fidelity import Fidelity

MEDIAN_NEEDS = 4


class Scheduler(ABC):
    """The rungs of one search, and the rule by which trials stop there.

    Attributes:
        rungs: What the rule compares with at each (family, rung below full fidelity), in order of arrival; the family
            is None where all share a rung.
    """

    def __init__(self, scale: Fidelity, shared: bool = False) -> None:
        self._scale = scale
        self._shared = shared
        self.rungs: defaultdict[tuple[Family | None, int], list[float]] = defaultdict(list)

    def report(self, trial: int, family: Family, fidelity: int, value: float) -> bool:
        """Record a measurement; True if its trial goes on to the next rung, False if it ends here.

        Raises:
            ValueError: If `fidelity` is not a rung: such a report could never stop a trial, and none would notice.
        """
        if fidelity not in self._scale.rungs:
            raise ValueError(f"fidelity {fidelity} is not a rung; rungs are {self._scale.rungs}")
        if fidelity == self._scale.maximum:
            return False
        return self._judge(trial, self.rungs[None if self._shared else family, fidelity], value)

    @abstractmethod
    def _judge(self, trial: int, rung: list[float], value: float) -> bool:
        """Whether `trial` goes on with `value`; adds to `rung` what later trials are compared with."""


class Asha(Scheduler):
    """The stopping variant of asynchronous successive halving.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, section 3.2 and appendix: a trial
    that reaches a rung goes on if it is among the best 1/eta of all trials recorded there so far. Ours spares one that
    would be among them with `margin` more: measurements are noisy.
    """

    def __init__(self, scale: Fidelity, shared: bool = False, margin: float = 0.0) -> None:
        super().__init__(scale, shared)
        self._margin = margin

    def _judge(self, trial: int, rung: list[float], value: float) -> bool:
        keep = goes_on(value + self._margin, rung, self._scale.eta)
        rung.append(value)
        return keep


class MedianStopping(Scheduler):
    """The median stopping rule.

    Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.1: a trial stops if its
    best value so far is below the median of the means that earlier trials had over their rungs up to this one. Ours
    counts every trial that was at the rung, stopped ones too, and waits until `MEDIAN_NEEDS` were.
    """

    def __init__(self, scale: Fidelity, shared: bool = False) -> None:
        super().__init__(scale, shared)
        self._curves: defaultdict[int, list[float]] = defaultdict(list)

    def _judge(self, trial: int, rung: list[float], value: float) -> bool:
        curve = self._curves[trial]
        curve.append(value)
        keep = len(rung) < MEDIAN_NEEDS or max(curve) >= median(rung)
        rung.append(fmean(curve))
        return keep


class NoStopping(Scheduler):
    """Every trial goes on to full fidelity."""

    def _judge(self, trial: int, rung: list[float], value: float) -> bool:
        return True


def build_scheduler(plan: Plan) -> Scheduler:
    """The scheduler that `plan` names."""
    shared = plan.rungs == "shared"
    if plan.scheduler == "asha":
        return Asha(plan.fidelity, shared, plan.margin)
    return (MedianStopping if plan.scheduler == "median" else NoStopping)(plan.fidelity, shared)


def goes_on(value: float, others: Sequence[float], eta: int) -> bool:
    """Whether `value` is among the best 1/eta of itself and `others`, higher being better.

    The best one always goes on, so that the first trial at a rung does; equals of a trial that goes on go on too.
    """
    better = sum(other > value for other in others)
    return better < max(1, (len(others) + 1) // eta)
