"""Fidelity: how much of its full budget a trial has spent, as an integer from 1 to R.

The rungs are those of successive halving with resource R and reduction factor eta (Li et al., "A System for
Massively Parallel Hyperparameter Tuning", MLSys 2020), built by integer powers so that no rung is
lost to rounding.
"""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Fidelity(BaseModel):
    """The scale of fidelities of one search.

    Attributes:
        maximum: R, the fidelity at which a trial has spent its full budget.
        eta: The reduction factor; about one trial in `eta` passes each rung.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    maximum: int = Field(default=27, ge=1, le=6561)
    eta: int = Field(default=3, ge=2, le=10)

    @model_validator(mode="after")
    def _maximum_is_a_power(self) -> "Fidelity":
        power = 1
        while power < self.maximum:
            power *= self.eta
        if power != self.maximum:
            raise ValueError(
                f"maximum must be a power of eta so that the last rung is full fidelity; "
                f"received maximum {self.maximum} with eta {self.eta}, nearest above is {power}"
            )
        return self

    @property
    def rungs(self) -> tuple[int, ...]:
        """All rungs in rising order, 1 first and R last: 1, 3, 9, 27 by default."""
        rungs = [1]
        while rungs[-1] < self.maximum:
            rungs.append(rungs[-1] * self.eta)
        return tuple(rungs)

    def next_rung(self, fidelity: int) -> int:
        """The lowest rung above `fidelity` (0 for a trial that has not begun).

        Raises:
            ValueError: At or above full fidelity, where no rung follows.
        """
        for rung in self.rungs:
            if rung > fidelity:
                return rung
        raise ValueError(f"no rung above fidelity {fidelity}: full fidelity is {self.maximum}")

    def units(self, total: int, fidelity: int) -> int:
        """How many of `total` units (images, trees, optimizer steps) a trial has spent at `fidelity`.

        Rounded up, so that fidelity 1 is at least one unit and R is exactly `total`.

        Raises:
            ValueError: If `fidelity` is outside 1..R.
        """
        if not 1 <= fidelity <= self.maximum:
            raise ValueError(f"fidelity must be 1..{self.maximum}, received {fidelity}")
        return -(-total * fidelity // self.maximum)
