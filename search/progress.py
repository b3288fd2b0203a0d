"""What a person sees while a search runs: a live table on a terminal, a line for each ended trial elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from results.describe import describe
from results.leaderboard import TrialRecord, figures, record_json
from results.schema import Event, Status, TrialEnd
from search.engine import Engine


class Progress:
    """Shows an engine's state on `console` for the time of a `with` block."""

    def __init__(self, engine: Engine, console: Console) -> None:
        self._engine = engine
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """Show what is under way before the first trial."""
        if self._live:
            self._live.update(Text(sentence), refresh=True)
        else:
            self._console.print(Text(f"{_clock(self._engine.elapsed)}  {sentence}"), soft_wrap=True)

    def update(self) -> None:
        """Redraw the live table, at most four times a second."""
        if self._live and self._engine.elapsed - self._shown >= 0.25:
            self._shown = self._engine.elapsed
            self._live.update(self.view(), refresh=True)

    def hear(self, event: Event) -> None:
        """Where there is no terminal, print a line for each trial that ended."""
        if self._live is None and isinstance(event, TrialEnd):
            record = self._engine.trials[event.trial]
            self._console.print(Text(f"{_clock(self._engine.elapsed)}  {_sentence(record)}"), soft_wrap=True)

    def view(self) -> RenderableType:
        """The state of the search: budget spent and left, the incumbent, and the running trials."""
        engine = self._engine
        table = Table(expand=True, title_justify="left", title=f"running trials ({len(engine.running)})")
        for name in ("trial", "family", "config"):
            table.add_column(name, no_wrap=name != "config", overflow="ellipsis", ratio=1 if name == "config" else None)
        for name in ("fidelity", "accuracy", "seconds"):
            table.add_column(name, justify="right", no_wrap=True)
        for record in engine.running:
            table.add_row(*_cells(record, engine.plan.fidelity.maximum))
        return Group(self._summary(), table)

    def _summary(self) -> Text:
        engine, budget = self._engine, self._engine.plan.budget
        counts = dict.fromkeys(Status, 0)
        for record in engine.trials.values():
            counts[record.status] += 1
        trials = f"{len(engine.trials)}" + (f" of {budget.trials}" if budget.trials else "")
        left = f", {_clock(max(0.0, 60 * budget.minutes - engine.elapsed))} left" if budget.minutes else ""
        waited = f", {engine.waited} of {budget.patience} without a better one" if budget.patience else ""
        is_limited = any(limit is not None for limit in (budget.cpu_seconds, budget.gpu_seconds, budget.cost))
        spent = Text(f"{engine.spend.describe(budget)}\n") if is_limited else Text()
        best = engine.incumbent
        leader = f"none at full fidelity yet{engine.plan.goals.within}"
        if best is not None:
            values = figures(record_json(best, engine.plan.goals), engine.plan.goals)
            leader = f"{values}  trial {best.trial}, {describe(best.config)}"
        return Text.assemble(
            ("trials ", "bold"),
            f"{trials}: {counts[Status.FINISHED]} finished, {counts[Status.STOPPED]} stopped, ",
            f"{counts[Status.FAILED]} failed{waited}\n",
            ("time   ", "bold"),
            f"{_clock(engine.elapsed)}{left}\n",
            ("spent  " if is_limited else "", "bold"),
            spent,
            ("best   ", "bold"),
            leader,
        )


def _cells(record: TrialRecord, maximum: int) -> list[str]:
    accuracy = "-" if record.val_accuracy is None else f"{record.val_accuracy:.4f}"
    fidelity = f"{record.fidelity}/{maximum}"
    return [str(record.trial), record.family, describe(record.config), fidelity, accuracy, f"{record.seconds:.1f}"]


def _sentence(record: TrialRecord) -> str:
    score = "-" if record.val_accuracy is None else f"{record.val_accuracy:.4f}"
    reason = f" ({record.reason})" if record.reason else ""
    what = f"trial {record.trial} {record.status} at fidelity {record.fidelity}"
    return f"{what}: {score}  {describe(record.config)}{reason}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
