"""Which trial goes to a worker next: those that wait, the worker that has just become free, what else stands idle."""

from collections.abc import Callable, Sequence

from search.room import Room, Shape
from spaces.family import Family

MAX_WAITING = 8


class Lineup:
    """The trials that wait for a worker, and those that have one.

    Attributes:
        waiting: Numbers of those that wait, the longest first.
        live: Numbers of those that were handed to workers.
    """

    def __init__(self, room: Room, family: Callable[[int], Family]) -> None:
        """Begin with no trial.

        Args:
            room: How many trials may run at once.
            family: Gives the family of a trial.
        """
        self._room = room
        self._family = family
        self._warm: Shape | None = None
        self.waiting: list[int] = []
        self.live: set[int] = set()

    @property
    def _running(self) -> list[Family]:
        return [self._family(number) for number in self.live]

    @property
    def begun(self) -> set[int]:
        """Those that have a worker or wait for one."""
        return self.live | set(self.waiting)

    @property
    def is_full(self) -> bool:
        """Whether no further trial fits."""
        return self._room.is_full(self._running)

    @property
    def idle(self) -> tuple[Family, ...]:
        """The families that use what is idle, where GPUs and CPUs run side by side; else all."""
        return self._room.idle(self._running)

    def fits(self, number: int) -> bool:
        """Whether a trial fits beside those that run."""
        return self._room.fits(self._family(number), self._running)

    def shape(self, number: int) -> Shape:
        """What a trial occupies."""
        return self._room.shape(self._family(number))

    def choose(self, families: Sequence[Family], add: Callable[[], bool]) -> int | None:
        """A waiting trial that fits: one for the warm worker that has just become free, else the oldest.

        A worker keeps its shape for life, and a new one takes seconds to start. So trials that would need another
        shape than the free worker's wait, up to `MAX_WAITING` of them, while others are asked for until one does not;
        then it is their turn. Where no trial of `families` could use the free worker, none is asked for in vain. Which
        families are tried is not decided here, only their order.

        Args:
            families: Those that are preferred, because they use what is idle.
            add: Lets one more trial wait, of `families` if possible; whether there was one.
        """
        running = self._running
        free = self._warm if self._warm in {self._room.shape(family) for family in families} else None
        while True:
            fitting = [number for number in self.waiting if self._room.fits(self._family(number), running)]
            wanted = [number for number in fitting if self._family(number) in families]
            warm = [number for number in wanted if free in (None, self.shape(number))]
            if warm:
                return warm[0]
            # Those of the kind that is busy, which wait for it, do not keep the idle kind from being asked for.
            is_enough = sum(self._family(number) in families for number in self.waiting) >= MAX_WAITING
            if is_enough or not add():
                return next(iter([*wanted, *fitting]), None)

    def hand_out(self, number: int) -> None:
        """Note that a waiting trial gets a worker."""
        self._warm = None
        self.waiting.remove(number)
        self.live.add(number)

    def free(self, number: int) -> None:
        """Note that the worker of a trial, if it has one, is free and warm."""
        if number in self.live:
            self.live.discard(number)
            self._warm = self.shape(number)

    def lose(self, number: int) -> bool:
        """Note that the worker of a trial is gone; whether it had one."""
        had_one = number in self.live
        self.live.discard(number)
        return had_one
