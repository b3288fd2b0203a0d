"""Which of several compared candidates wins: the best, unless a much cheaper one cannot be told apart from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from results.statistics import Correct, holm, mcnemar

ALPHA = 0.05
CHEAPER = 0.5  # docs/decisions/0005


@dataclass(frozen=True)
class Choice:
    """What a comparison ended with; candidates go by their place in it.

    Attributes:
        leader: The one with the highest score.
        winner: The cheapest of those that cannot be told apart from the leader and cost at most `CHEAPER` of what it
            does; the leader if there is none.
        runner_up: The best of the others; None if there is no other.
        p_values: Of McNemar's exact test of each against the leader, adjusted by Holm; None for the leader.
        told_apart: For each, whether the leader and it are right on significantly different numbers of faces.
    """

    leader: int
    winner: int
    runner_up: int | None
    p_values: tuple[float | None, ...]
    told_apart: tuple[bool, ...]

    @property
    def p_value(self) -> float | None:
        """That of the winner against the runner-up, one of which is the leader; None if there is no runner-up."""
        if self.runner_up is None:
            return None
        return self.p_values[self.runner_up if self.winner == self.leader else self.winner]


def choose(scores: Sequence[float], seconds: Sequence[float], correct: Sequence[Correct]) -> Choice:
    """Compare k candidates, at least one.

    Args:
        scores: Their balanced accuracies, or what else they are ranked by: more is better.
        seconds: What each costs.
        correct: For each, on which of the same n faces it is right, (n,).
    """
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], seconds[place], place))
    leader, others = order[0], order[1:]
    adjusted = dict(zip(others, holm([mcnemar(correct[leader], correct[other]) for other in others]), strict=True))
    told_apart = tuple(place != leader and adjusted[place] < ALPHA for place in range(len(scores)))
    cheap = [place for place in others if not told_apart[place] and seconds[place] <= CHEAPER * seconds[leader]]
    winner = min(cheap, key=lambda place: seconds[place], default=leader)
    return Choice(
        leader=leader,
        winner=winner,
        runner_up=next((place for place in order if place != winner), None),
        p_values=tuple(adjusted.get(place) for place in range(len(scores))),
        told_apart=told_apart,
    )
