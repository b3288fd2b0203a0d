"""ASHA that pauses trials at rungs instead of stopping them, and takes up the best later."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from search.foresight import most_going_on
from search.scheduler import Asha, Learned, Report, Rung, Verdict, at
from spaces.fidelity import Fidelity

# So many trials of each kind at each rung, besides those that deserve to go on, wait for their chance.
MOST_WAITING = 10


class Promotion(Asha):
    """The promoting variant of asynchronous successive halving.

    Li et al., section 3.2, algorithm 2: every trial pauses at a rung, and a free worker takes up the best one that is
    among the best 1/eta of its rung, or behind them by no more than the margin, at the highest rung that has one; only
    where none has does a new trial begin. So no worker continues a mediocre trial because it came first, and a trial
    that is passed over has its chance later.

    Ours does not let all wait for it, since each costs a checkpoint: of those that do not deserve to go on the best
    `MOST_WAITING` of each kind at each rung do, once its margin is known. With a fixed margin the next one would be
    taken up only if eta times as many more arrived, all worse.
    """

    def __init__(
        self, scale: Fidelity, shared: bool = False, margin: float | Learned = 0.0, first_seconds: float | None = None
    ) -> None:
        super().__init__(scale, shared, margin, first_seconds)
        self._entries: defaultdict[Rung, list[tuple[float, int]]] = defaultdict(list)
        self._paused: dict[int, Rung] = {}
        self._complete = set[int]()
        self._left: defaultdict[Rung, set[int]] = defaultdict(set)  # who ended while it waited at a rung
        self._lost = set[int]()  # who ended on its way to the next one

    def report(self, report: Report) -> Verdict:
        if report.fidelity == self._scale.maximum:
            self._complete.add(report.trial)
        return super().report(report)

    def _judge(self, trial: int, rung: Rung, value: float) -> Verdict:
        self.rungs[rung].append(value)
        self._entries[rung].append((value, trial))
        self._paused[trial] = rung
        self._passed[trial].append((rung.whole, value))
        return Verdict.PAUSE

    def promote(self, can_run: Callable[[int], bool], eager: bool) -> int | None:
        trial = next(filter(can_run, self._promotable(eager)), None)
        if trial is not None:
            self.take_up(trial)
        return trial

    def take_up(self, trial: int) -> None:
        self._paused.pop(trial, None)

    def has_promotable(self, eager: bool) -> bool:
        return next(self._promotable(eager), None) is not None

    def leave(self, trial: int) -> None:
        super().leave(trial)
        rung = self._paused.pop(trial, None)
        if trial not in self._complete:
            (self._lost if rung is None else self._left[rung.whole]).add(trial)

    @property
    def paused(self) -> frozenset[int]:
        return frozenset(self._paused)

    def deserving(self, eager: bool) -> frozenset[int]:
        return frozenset(self._promotable(eager))

    @property
    def passed_over(self) -> frozenset[int]:
        found: list[int] = []
        for rung in self._entries:
            if isinstance(self._margin, Learned) and not self._foresight[rung.whole].is_settled:
                continue  # whom the margin will spare is not known yet
            good = self._good(rung, eager=False)
            waiting = [trial for _, trial in self._ranked(rung) if self._paused.get(trial) == rung]
            found += [trial for trial in waiting if trial not in good][MOST_WAITING:]
        return frozenset(found)

    def _promotable(self, eager: bool) -> Iterator[int]:
        """Trials that deserve to go on: those within the constraints first, highest rung first, best value first."""
        chosen: list[tuple[bool, float, float, int]] = []
        for rung in self._entries:
            good = self._good(rung, eager)
            waiting = [(value, trial) for trial, value in good.items() if self._paused.get(trial) == rung]
            chosen += [(not rung.is_within, -rung.level, -value, trial) for value, trial in waiting]
        yield from (trial for *_, trial in sorted(chosen))

    def _good(self, rung: Rung, eager: bool) -> dict[int, float]:
        """Trials that deserve to go on at `rung`, or while there are too few for a best third at the whole one.

        Eager is who wants some to reach full fidelity: where all that deserve it ended while they waited here, or on
        their way to some later rung, the next best goes on instead. One that ended while it waited at a later rung
        keeps its place here.
        """
        place = rung if len(self._entries[rung]) >= self._scale.eta else rung.whole
        entries = self._ranked(place)
        good = entries[: self._deserving(place, entries, eager)]
        if eager:
            gone = self._lost | self._left[rung.whole]
            able = [entry for entry in entries if entry[1] not in gone]
            good = [entry for entry in good if entry[1] not in gone] or able[:1]
        return {trial: value for value, trial in good}

    def _deserving(self, rung: Rung, entries: Sequence[tuple[float, int]], eager: bool) -> int:
        """How many of `entries`, best first, are among the best 1/eta or behind them by no more than the margin."""
        quota = max(len(entries) // self._scale.eta, int(eager))
        if not quota:
            return 0
        bar = entries[quota - 1][0]
        margin = self._margin_at(rung, bar)
        spared = sum(value + margin >= bar for value, _ in entries) if margin else quota
        is_learned = isinstance(self._margin, Learned)
        return max(quota, min(spared, most_going_on(len(entries)))) if is_learned else spared

    def _ranked(self, rung: Rung) -> list[tuple[float, int]]:
        """What was recorded at `rung`, value and trial, best first."""
        return sorted(at(rung, self._entries), key=lambda entry: (-entry[0], entry[1]))
