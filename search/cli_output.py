"""What commands print: results on standard output, for people or as one JSON document; the rest on standard error."""

import json
import sys
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from spaces.errors import InputError

if TYPE_CHECKING:
    from search.outcome import Outcome

MINIMUM_WIDTH = 100


class Output:
    """The output of one command.

    Attributes:
        progress: Where messages about work under way go: standard error.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.progress = Console(stderr=True)

    def show(self, values: Any, view: RenderableType) -> None:
        """Print `values` as JSON, or `view` for people."""
        if self._as_json:
            sys.stdout.write(json.dumps(values) + "\n")
            sys.stdout.flush()
            return
        console = Console()
        if not console.is_terminal:
            console = Console(width=max(MINIMUM_WIDTH, console.width))
        console.print(view)

    def finish_search(self, outcome: "Outcome") -> None:
        """Print how a search ended; exit 130 after Ctrl-C, 1 if trials kept failing or none won."""
        from results.leaderboard import leaderboard, table

        run = outcome.run.location
        if not self._as_json:
            self.show(None, table(leaderboard([outcome.run]), goals=outcome.run.goals()))
        self.show(outcome.json(), Text(f"run {run}: {_counts(outcome)} in {outcome.seconds:.0f} s"))
        if outcome.interrupted:
            self.progress.print(f"interrupted; continue with: fertune resume {run}", soft_wrap=True, markup=False)
            raise typer.Exit(130)
        if outcome.given_up:
            self.progress.print(f"fertune: {_why_given_up(outcome)}", soft_wrap=True, markup=False)
            raise typer.Exit(1)
        if outcome.incumbent is None:
            self.progress.print(f"fertune: {_why_none_won(outcome)}", soft_wrap=True, markup=False)
            raise typer.Exit(1)


def variable(given: str) -> tuple[str, str]:
    """The name and value of an environment variable given as NAME=VALUE.

    Raises:
        InputError: If it is given otherwise.
    """
    name, separator, value = given.partition("=")
    if not separator or not name.isidentifier():
        raise InputError(f"--env {given}: expected NAME=VALUE")
    return name, value


def _why_given_up(outcome: "Outcome") -> str:
    from search.limits import MOST_FAILURES

    reason = next(reversed(outcome.failures), "none given")
    return (
        f"{MOST_FAILURES} trials of {outcome.run.location} in a row failed, so the search ended; the last failure was: "
        f"{reason}; mend it and go on with: fertune resume {outcome.run.location}"
    )


def _why_none_won(outcome: "Outcome") -> str:
    from results.schema import Status

    run, goals = outcome.run.location, outcome.run.goals()
    # With more training a model becomes no smaller, and one at full fidelity no better.
    if any(
        trial.status is Status.FINISHED or not goals.may_keep_footprint(trial.measurements)
        for trial in outcome.trials
        if trial.measurements
    ):
        return f"no trial of {run} is{goals.within} at full fidelity; allow more or search other configs"
    failed = next(iter(outcome.failures), "")
    because = f"; the first failure was: {failed}" if failed else "; give it a larger budget"
    return f"no trial of {run} reached full fidelity{goals.within}{because}"


def _counts(outcome: "Outcome") -> str:
    counts = outcome.json()
    unfinished = counts["trials"] - counts["finished"] - counts["stopped"] - counts["failed"]
    parts = [f"{counts[name]} {name}" for name in ("finished", "stopped", "failed")]
    return f"{counts['trials']} trials, " + ", ".join(parts) + (f", {unfinished} unfinished" if unfinished else "")
