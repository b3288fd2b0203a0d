"""A cluster that changes while it is searched: nodes that come get trials, and one that can grow is asked to."""

import time
from collections.abc import Callable, Iterable
from itertools import cycle, islice
from typing import Any, Self

from cluster.session import alive_nodes, free, request
from search.plan import Plan
from search.room import Room

_LOOK_SECONDS = 2.0
_PATIENCE_SECONDS = 30.0


class Growth:
    """Keeps the room of a search at what its cluster has, and says so when no trial runs for want of it.

    Args:
        plan: Says for how many trials at once a cluster that grows is asked to have room, if it is.
        room: Kept up to date.
        ended: Says how many trials have ended.
        say: Told when no trial runs for long.
    """

    def __init__(self, plan: Plan, room: Room, ended: Callable[[], int], say: Callable[[str], Any]) -> None:
        self._trials = plan.cluster.autoscale
        self._shapes = [room.shape(family) for family in plan.space.families]
        self._room = room
        self._ended = ended
        self._say = say
        self._most = plan.budget.trials
        self._asked = 0
        self._looked = 0.0
        self._idle_since = self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._ask_for(self._trials or 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._ask_for(0)

    def _ask_for(self, trials: int) -> None:
        """Ask the cluster to have room for so many trials at once, unless that was asked last."""
        if trials != self._asked:
            self._asked = trials
            wanted = islice(cycle(self._shapes), trials)
            request([{"CPU": shape.cpus, **({"GPU": shape.gpus} if shape.gpus else {})} for shape in wanted])

    def update(self, states: Iterable[str]) -> None:
        """Look at the cluster, at most every other second.

        Args:
            states: Of Tune's trials.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        if self._trials and self._most:  # at the end of a search machines that it cannot use any more may go
            self._ask_for(max(1, min(self._trials, self._most - self._ended())))
        self._room.update(alive_nodes())
        if "RUNNING" in states:
            self._idle_since = now
        elif now - max(self._idle_since, self._said) >= _PATIENCE_SECONDS:
            self._said = now
            self._say(self._complaint(now - self._idle_since))

    def _complaint(self, seconds: float) -> str:
        wanted = " or ".join(f"{shape.cpus} CPUs and {shape.gpus:g} GPUs" for shape in sorted(set(self._shapes)))
        left = free()
        return (
            f"no trial runs since {seconds:.0f} s: one asks for {wanted}; of the cluster's {self._room.cpus} CPUs "
            f"{left.get('CPU', 0.0):g}, and {left.get('GPU', 0.0):g} GPUs, are neither used nor kept for workers"
        )
