"""How a session of a search ended."""

from dataclasses import dataclass
from typing import Any

from results.leaderboard import TrialRecord, record_json
from results.run_folder import RunFolder
from results.schema import Status


@dataclass(frozen=True)
class Outcome:
    """How a session ended.

    Attributes:
        run: The run folder.
        trials: All trials of the run, by number.
        seconds: Seconds of searching, earlier sessions included.
        incumbent: The best trial at full fidelity.
        interrupted: Whether Ctrl-C ended the session.
        given_up: Whether it ended because trial after trial failed.
    """

    run: RunFolder
    trials: tuple[TrialRecord, ...]
    seconds: float
    incumbent: TrialRecord | None
    interrupted: bool
    given_up: bool = False

    def count(self, status: Status) -> int:
        """How many trials have `status`."""
        return sum(trial.status is status for trial in self.trials)

    @property
    def failures(self) -> list[str]:
        """Why trials failed, those of which that is known, by number."""
        return [trial.reason for trial in self.trials if trial.status is Status.FAILED and trial.reason]

    def json(self) -> dict[str, Any]:
        """What `search --json` prints."""
        return {
            "run": self.run.location,
            "trials": len(self.trials),
            "finished": self.count(Status.FINISHED),
            "stopped": self.count(Status.STOPPED),
            "failed": self.count(Status.FAILED),
            "seconds": self.seconds,
            "incumbent": record_json(self.incumbent, self.run.goals()) if self.incumbent else None,
        }
