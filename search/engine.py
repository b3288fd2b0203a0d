"""The search itself, without Ray: what to try next, what goes on, when to end, and what is written down.

The Tune adapters in `tune_bridge.py` only pass calls on to here; a test or a simulation can make the same calls. Every
event is written to the journal before anything else hears of it, so a run that is killed at any moment can be replayed.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from results.leaderboard import TrialRecord
from results.schema import (
    EndStatus,
    Event,
    Measurement,
    Preparation,
    SessionEnd,
    SessionStart,
    Status,
    TrialEnd,
    TrialStart,
    TrialTakenUp,
)
from search.budget import Spend
from search.judge import Judge
from search.ledger import LEFT_PAUSED, Ledger
from search.limits import Failures, Limits
from search.lineup import Lineup
from search.plan import Plan
from search.room import Room
from search.scheduler import Verdict
from search.searcher import Searcher
from spaces.family import Family
from spaces.joint import parse_config
from trainables.job import Assignment

MAX_LOST_WORKERS = 2

Listener = Callable[[Event], None]


class Engine:
    """One session of a search: from a start or a resume to its end.

    Attributes:
        plan: The plan.
        was_interrupted: Whether somebody asked for its end.
    """

    def __init__(
        self,
        plan: Plan,
        searcher: Searcher,
        past: Sequence[Event],
        write: Listener,
        room: Room,
        faces: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Replay `past`; `begin` then opens the session.

        Args:
            plan: The plan.
            searcher: Already knows the trials of `past`.
            past: The events of earlier sessions, empty for a new run.
            write: Called with every new event before anything else hears of it: the journal.
            room: How many trials may run at once.
            faces: Number of validation faces, which say how far chance carries an accuracy; 0 if nobody knows.
            clock: Gives the time, in seconds; a simulation has its own.
        """
        self.plan = plan
        self._searcher = searcher
        self._write = write
        self._listeners: list[Listener] = []
        self._clock = clock
        self._judge = Judge(plan, faces)
        self._scheduler = self._judge.scheduler
        self._ledger = Ledger(plan.goals, room.shape)
        self._lineup = Lineup(room, lambda number: self.trials[number].family)
        self._lost: Counter[int] = Counter()
        self.was_interrupted = False
        self._has_run_dry = False
        self._failures = Failures()
        self._limits = Limits(plan, self._ledger, room, past, clock)
        self._decided: dict[int, EndStatus] = {}
        self._replay(past)

    @property
    def elapsed(self) -> float:
        """Seconds of searching, in this session and earlier ones."""
        return self._limits.elapsed

    @property
    def trials(self) -> dict[int, TrialRecord]:
        """All trials of the run so far, by number."""
        return self._ledger.trials

    @property
    def spend(self) -> Spend:
        """What the trials of this session and earlier ones have spent."""
        return self._ledger.spend

    @property
    def incumbent(self) -> TrialRecord | None:
        """The best trial at full fidelity, None while there is none."""
        return self._ledger.patience.incumbent

    @property
    def waited(self) -> int:
        """How many trials ended since the incumbent was found."""
        return self._ledger.patience.waited

    @property
    def ended(self) -> int:
        """How many trials have ended, in whatever way, those of earlier sessions included; a paused one has not."""
        return self._ledger.ended

    @property
    def has_given_up(self) -> bool:
        """Whether the session ends because trial after trial fails."""
        return self._failures.are_all(self._lineup.begun)

    @property
    def limits_reached(self) -> list[str]:
        """The fields of the budget that allow no more, or no further trial."""
        return self._limits.reached

    @property
    def running(self) -> list[TrialRecord]:
        """The trials now handed to workers."""
        return [self.trials[number] for number in sorted(self._lineup.live)]

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every event from now on, once it is written and applied."""
        self._listeners.append(listener)

    def begin(self) -> None:
        """Open the session, and end the trials whose end was decided in an earlier one but not written down."""
        self._emit(SessionStart(time=self._limits.began))
        for number, status in self._decided.items():
            self.end(number, status)
        for number in self._scheduler.paused:
            self._searcher.pause(number)
        self._pass_over()
        unfinished = [number for number, record in self.trials.items() if record.status is Status.RUNNING]
        self._lineup.waiting = [number for number in unfinished if number not in self._scheduler.paused]

    def note_preparation(self, spent: Spend) -> None:
        """Note what was `spent` before the first trial of this session on what trials share."""
        self._emit(Preparation(time=self._clock(), **spent._asdict()))

    def stop(self) -> None:
        """End the session soon; running trials stay unfinished and go on at a resume."""
        self.was_interrupted = True

    def close(self) -> None:
        """Write down that the session ended, so that its seconds count up to here.

        Paused trials are STOPPED, but for those that deserve to go on where time or means ran out, the target was met
        or trial after trial failed: like the running ones they wait for a resume. If the search was interrupted, all
        do.
        """
        if not self.was_interrupted:
            kept = self._scheduler.deserving(self._is_closing) if self.is_over else frozenset()
            for number in sorted(self._scheduler.paused - kept):
                self.end(number, Status.STOPPED, LEFT_PAUSED)
        self._emit(SessionEnd(time=self._clock()))

    @property
    def is_over(self) -> bool:
        """Whether running trials are to be left as they are: stopped, or a limit reached."""
        return self.was_interrupted or self._limits.are_reached or self.has_given_up

    @property
    def is_exhausted(self) -> bool:
        """Whether no further trial will be suggested."""
        is_idle = self._is_spent and not self._lineup.waiting
        return self.is_over or (is_idle and not self._scheduler.has_promotable(self._is_closing))

    @property
    def _is_spent(self) -> bool:
        return self._has_run_dry or self._limits.allow_no_trial

    @property
    def _is_closing(self) -> bool:
        """Whether the best paused trials are to go on however few there are, so that some reach full fidelity.

        No more trials will come; or half of the minutes or means are gone and nothing is at full fidelity.
        """
        return self._is_spent or (self.incumbent is None and self._limits.are_half_gone)

    def suggest(self) -> Assignment | None:
        """The next trial to hand to a worker; None if none may start now."""
        number = None if self.is_exhausted else self._choose()
        if number is None:
            return None
        self._lineup.hand_out(number)
        record = self.trials[number]
        return Assignment(
            trial=number,
            config=parse_config(record.config),
            seed=record.seed,
            recorded=record.fidelity,
            handed=self._clock(),
        )

    def _choose(self) -> int | None:
        """A trial for a worker; where a GPU or a CPU is idle beside the other, one of a family that uses it."""
        if self._lineup.is_full:
            return None
        families = self._lineup.idle
        if not self._searcher.has_any(families):
            families = tuple(self.plan.space.families)
        return self._lineup.choose(families, lambda: self._add(families))

    def _add(self, families: Sequence[Family]) -> bool:
        """Let one more trial wait for a worker, a paused one or a new one; whether there is one."""
        is_there = self._take_up(families) or (not self._is_spent and self._ask(families))
        # Once it is known that no trial will come, paused ones go on that would not have before.
        return is_there or (self._has_run_dry and self._take_up(families))

    def _take_up(self, families: Sequence[Family]) -> bool:
        """Let a paused trial wait for a worker, if one deserves it and fits; of `families`, while new ones may come."""

        def can_run(trial: int) -> bool:
            return self._lineup.fits(trial) and (self._is_spent or self.trials[trial].family in families)

        number = self._scheduler.promote(can_run, self._is_closing)
        if number is not None:
            self._emit(TrialTakenUp(trial=number, time=self._clock()))
            self._searcher.pause(number, is_paused=False)
            self._lineup.waiting.append(number)
        return number is not None

    def _ask(self, families: Sequence[Family]) -> bool:
        """Let the searcher choose a new trial, which waits until it is handed out; whether there is one."""
        asked = self._searcher.ask(families)
        if asked is None:
            self._has_run_dry = True
            return False
        number, config, is_drawn = asked
        start = TrialStart(
            trial=number,
            time=self._clock(),
            family=Family(config.family),
            config=config.model_dump(mode="json"),
            seed=self.plan.seed + number,
            is_drawn=is_drawn,
        )
        self._emit(start)
        self._lineup.waiting.append(number)
        return True

    def report(self, result: dict[str, Any]) -> Verdict:
        """Take a trial's report: a measurement at a rung, or `failed` with its reason."""
        number = int(result["trial"])
        if "failed" in result:
            self.end(number, Status.FAILED, str(result["failed"]))
            return Verdict.END
        fields = {name: result[name] for name in Measurement.model_fields if name in result and name != "kind"}
        record = self.trials[number]
        cpus, gpus = self._lineup.shape(number)
        measurement = Measurement(**{**fields, "trial": number, "time": self._clock(), "cpus": cpus, "gpus": gpus})
        if record.status is not Status.RUNNING:
            return Verdict.END
        if measurement.fidelity <= record.fidelity:
            return Verdict.GO_ON  # a worker died and its successor repeats the report of the last checkpoint
        self._failures.clear()
        self._emit(measurement)
        self._searcher.report(number, measurement)
        return self._decide(number)

    def lose_worker(self, number: int, reason: str, with_node: bool = False) -> None:
        """A trial's worker died: the trial goes on elsewhere from its checkpoint, unless it cost too many workers.

        A worker that went down `with_node`, its whole machine, was not the trial's doing and does not count.
        """
        self._lost[number] += not with_node
        was_live = self._lineup.lose(number)
        if self._lost[number] > MAX_LOST_WORKERS:
            self.end(number, Status.FAILED, reason)
        elif was_live:
            self._lineup.waiting.append(number)

    def end(self, number: int, status: EndStatus, reason: str = "") -> None:
        """Note that a trial ended, once."""
        record = self.trials[number]
        if record.status is not Status.RUNNING:
            return
        self._lineup.free(number)
        self._scheduler.leave(number)
        if status is Status.FAILED:
            self._failures.add(self._lineup.begun)
        self._emit(TrialEnd(trial=number, time=self._clock(), status=status, reason=reason))
        self._searcher.tell(number, status)

    def _decide(self, number: int) -> Verdict:
        """Decide what becomes of a trial that has reported: its end, or a pause, which leaves its worker free."""
        record = self.trials[number]
        verdict = self._judge.verdict(record, self._limits.seconds_to_go)
        if verdict is Verdict.END:
            self.end(number, self._judge.end_status(record))
        elif verdict is Verdict.PAUSE:
            self._searcher.pause(number)
            self._lineup.free(number)
            self._pass_over()
        return verdict

    def _pass_over(self) -> None:
        """End the paused trials that will hardly be taken up, so that their checkpoints fall under the quota."""
        for number in sorted(self._scheduler.passed_over):
            self.end(number, Status.STOPPED)

    def _replay(self, past: Sequence[Event]) -> None:
        """Rebuild trials and rungs from earlier sessions.

        A trial whose last measurement was its end, but whose driver died before writing that down, is decided again;
        but none ends for want of time, of which there may be more now. So all that went on do so here, too.
        """
        for event in past:
            self._ledger.apply(event)
            if isinstance(event, SessionStart | SessionEnd | Preparation):
                continue
            self._decided.clear()  # whatever came after it, it went on or its end was written down
            record = self.trials[event.trial]
            if isinstance(event, TrialEnd):
                self._scheduler.leave(event.trial)
            elif isinstance(event, TrialTakenUp):
                self._scheduler.take_up(event.trial)
            elif isinstance(event, Measurement) and self._judge.verdict(record, math.inf) is Verdict.END:
                self._decided[event.trial] = self._judge.end_status(record)

    def _emit(self, event: Event) -> None:
        self._write(event)
        self._ledger.apply(event)
        for listener in self._listeners:
            listener(event)
