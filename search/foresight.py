"""What the trials that went on teach of a rung: how far a trial may be behind there and still catch up."""

import math

import numpy as np

NEEDS = 4  # pairs, for a line and the spread around it
DOUBT = 1.0  # standard errors; docs/log.md has what others lose and gain


def most_going_on(count: int) -> int:
    """How many of `count` trials at a rung may go on where it foretells nothing: all but the worst third.

    A search that cannot tell its trials apart must not train them all.
    """
    return -(-2 * count // 3)


class Foresight:
    """How well what trials reach at a rung foretells what they report next.

    A line is fitted by least squares through the pairs of both values. Where it is steep and the pairs lie close to it,
    a trial that is behind stays behind; a rung that says little of what follows should stop hardly any. That only the
    better trials went on leaves the line where it is: they were chosen by what foretells, not by what followed.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float]] = []
        self._others = 0
        self._margin: float | None = 0.0  # None where a pair has come since

    def add(self, earlier: float, later: float) -> None:
        """Note what a trial had at the rung, and what it reported next."""
        self._pairs.append((earlier, later))
        self._margin = None

    def pass_by(self) -> None:
        """Note that a trial went on, but what it reported next does not compare with what it had here."""
        self._others += 1

    @property
    def is_settled(self) -> bool:
        """Whether as many have gone on as the margin waits for, whether or not they taught anything."""
        return len(self._pairs) + self._others >= NEEDS

    @property
    def is_known(self) -> bool:
        """Whether enough trials have gone on to learn from."""
        return len(self._pairs) >= NEEDS

    @property
    def margin(self) -> float:
        """How far behind, at the rung, a trial may be expected to catch up: `DOUBT` standard errors of the line.

        Zero while too few have gone on; infinite if the line does not rise.
        """
        if self._margin is None:
            self._margin = self._learned()
        return self._margin

    def _learned(self) -> float:
        if not self.is_known:
            return 0.0
        earlier, later = np.array(self._pairs).T
        from_mean = earlier - earlier.mean()
        spread = float(from_mean @ from_mean)
        slope = float(from_mean @ later) / spread if spread else 0.0
        if slope <= 0:
            return math.inf
        residuals = later - later.mean() - slope * from_mean
        return DOUBT * math.sqrt(float(residuals @ residuals) / (len(self._pairs) - 2)) / slope
