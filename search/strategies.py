"""The schedulers that a plan can name: ASHA or its promoting variant, Hyperband, the median rule, none."""

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, median

from results.goals import SHARES
from search.plan import Plan
from search.promotion import Promotion
from search.scheduler import Asha, Learned, Report, Rung, RungScheduler, Scheduler, Verdict
from spaces.fidelity import Fidelity

MEDIAN_NEEDS = 4


class Hyperband(Scheduler):
    """Asynchronous Hyperband: brackets of ASHA, each of which judges trials from a higher rung on than the one before.

    Li et al., "Hyperband", JMLR 2018, gives the sizes of the brackets, by which trials are dealt out here; Li et al.,
    MLSys 2020, section 3.2, runs them side by side. A bracket that judges late keeps what starts slowly.
    """

    def __init__(self, brackets: Sequence[Scheduler], scale: Fidelity, in_seconds: bool = False) -> None:
        """Deal trials out to `brackets`, which judge from the first, second .. rung on.

        Args:
            brackets: Those whose rungs lie `in_seconds` have none before the one from which they judge.
            scale: The scale of fidelities.
            in_seconds: Whether rungs lie at seconds spent.
        """
        self._scale = scale
        self._in_seconds = in_seconds
        self._brackets = brackets
        self._deal = [number for number, size in enumerate(bracket_sizes(scale)) for _ in range(size)]

    def report(self, report: Report) -> Verdict:
        bracket, rungs = self.bracket(report.trial), self._scale.rungs
        if not self._in_seconds and report.fidelity in rungs and rungs.index(report.fidelity) < bracket:
            return Verdict.GO_ON
        return self._brackets[bracket].report(report)

    def leave(self, trial: int) -> None:
        self._brackets[self.bracket(trial)].leave(trial)

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
    counts every trial that was at the rung, stopped ones too, and waits until `MEDIAN_NEEDS` were; while fewer of its
    kind were, a trial is compared with all.
    """

    def __init__(self, scale: Fidelity, shared: bool = False, first_seconds: float | None = None) -> None:
        super().__init__(scale, shared, first_seconds)
        self._curves: defaultdict[tuple[int, bool], list[float]] = defaultdict(list)

    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        curve, others = self._curves[trial, rung.is_within], self._others(rung, least=MEDIAN_NEEDS)
        curve.append(value)
        keep = len(others) < MEDIAN_NEEDS or max(curve) >= median(others)
        self.rungs[rung].append(fmean(curve))
        return Verdict.GO_ON if keep else Verdict.END


class NoStopping(RungScheduler):
    """Every trial goes on to full fidelity."""

    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        return Verdict.GO_ON


def build_scheduler(plan: Plan, faces: int = 0) -> Scheduler:
    """The scheduler that `plan` names, for values that so many validation `faces` give, 0 if nobody knows."""
    scale, shared = plan.fidelity, plan.rungs != "family"
    learned = Learned(faces if plan.objectives[0] in SHARES else 0)
    margin = learned if plan.margin == "learned" else plan.margin
    first_seconds = plan.first_seconds if plan.rungs == "seconds" else None
    if plan.scheduler == "hyperband":
        firsts = [first_seconds and first_seconds * scale.eta**number for number in range(len(scale.rungs))]
        brackets = [Asha(scale, shared, margin, first) for first in firsts]
        return Hyperband(brackets, scale, in_seconds=first_seconds is not None)
    if plan.scheduler == "asha" and plan.promotion:
        return Promotion(scale, shared, margin, first_seconds)
    if plan.scheduler == "asha":
        return Asha(scale, shared, margin, first_seconds)
    return (MedianStopping if plan.scheduler == "median" else NoStopping)(scale, shared, first_seconds)


def bracket_sizes(scale: Fidelity) -> list[int]:
    """How many trials each bracket of Hyperband begins with, the one that judges from the first rung on first.

    Bracket s of s_max .. 0 begins with ceil((s_max + 1) / (s + 1) * eta**s) trials (Li et al., JMLR 2018, algorithm 1).
    """
    highest = len(scale.rungs) - 1
    return [-(-(highest + 1) * scale.eta**s // (s + 1)) for s in range(highest, -1, -1)]
