"""What becomes of a trial at a rung: the scheduler of the plan, asked in the terms of the plan's goals."""

from results.leaderboard import TrialRecord
from results.schema import EndStatus, Status
from search.plan import Plan
from search.scheduler import Report, Verdict
from search.strategies import build_scheduler


class Judge:
    """Decides whether trials go on.

    Attributes:
        scheduler: The scheduler of the plan, which knows the rungs.
    """

    def __init__(self, plan: Plan, faces: int = 0) -> None:
        """Begin with empty rungs.

        Args:
            plan: Its goals say what a measurement is worth, its scheduler how trials compare.
            faces: Number of validation faces, which say how far chance carries an accuracy; 0 if nobody knows.
        """
        self._goals = plan.goals
        self._maximum = plan.fidelity.maximum
        self.scheduler = build_scheduler(plan, faces)

    def verdict(self, record: TrialRecord, left: float) -> Verdict:
        """What becomes of a trial after its latest measurement, asked once for each.

        The scheduler says it, unless the model is too slow or large: more training makes it no faster or smaller.
        A limit to what validation says may be kept yet, so those that break one are compared among themselves.

        Args:
            record: The trial.
            left: Seconds that the search has left.
        """
        if not self._goals.may_keep_footprint(record.measurements):
            return Verdict.END
        measurement = record.measurements[-1]
        is_within, value = self._goals.standing(measurement)
        report = Report(
            record.trial,
            record.family,
            measurement.fidelity,
            value,
            # What it waited for others says nothing of what it costs.
            seconds=measurement.total_seconds - measurement.cache_wait_seconds,
            left=left,
            is_within=is_within,
            is_drawn=record.is_drawn,
        )
        return self.scheduler.report(report)

    def end_status(self, record: TrialRecord) -> EndStatus:
        """How a trial ends that goes no further: it has finished, or is stopped."""
        return Status.FINISHED if record.fidelity == self._maximum else Status.STOPPED
