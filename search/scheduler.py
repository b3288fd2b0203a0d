"""ASHA: which trials go on at a rung.

The stopping variant of asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter
Tuning", MLSys 2020, section 3.2 and appendix): a trial that reaches a rung goes on if it is among the best 1/eta of
all trials recorded there so far. Rungs are kept for each family by itself, so that a slow starter is compared with its
like.
"""

from collections import defaultdict
from collections.abc import Sequence

from spaces.family import Family
from spaces.fidelity import Fidelity


def goes_on(value: float, others: Sequence[float], eta: int) -> bool:
    """Whether `value` is among the best 1/eta of itself and `others`, higher being better.

    The best one always goes on, so that the first trial at a rung does; equals of a trial that goes on go on too.
    """
    better = sum(other > value for other in others)
    return better < max(1, (len(others) + 1) // eta)


class Asha:
    """The rungs of one search.

    Attributes:
        rungs: The values recorded at each (family, rung below full fidelity), in order of arrival.
    """

    def __init__(self, scale: Fidelity) -> None:
        self._scale = scale
        self.rungs: defaultdict[tuple[Family, int], list[float]] = defaultdict(list)

    def report(self, family: Family, fidelity: int, value: float) -> bool:
        """Record a measurement; True if its trial goes on to the next rung, False if it stops here.

        Raises:
            ValueError: If `fidelity` is not a rung: such a report could never stop a trial, and none would notice.
        """
        if fidelity not in self._scale.rungs:
            raise ValueError(f"fidelity {fidelity} is not a rung; rungs are {self._scale.rungs}")
        if fidelity == self._scale.maximum:
            return False
        rung = self.rungs[family, fidelity]
        keep = goes_on(value, rung, self._scale.eta)
        rung.append(value)
        return keep
