"""How many trials fit on the machines at once: what a trial of each family occupies, against what there is."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from search.plan import Resources
from spaces.errors import InputError
from spaces.family import Family

_TOLERANCE = 1e-9  # fractions of a GPU, such as three thirds, must add up to a whole one


class Shape(NamedTuple):
    """What one trial occupies."""

    cpus: int
    gpus: float


class Room:
    """What a search may occupy.

    Attributes:
        cpus: CPUs in all.
    """

    def __init__(self, resources: Resources, available: Mapping[str, float], families: Iterable[Family]) -> None:
        """Check that each family fits at all.

        Args:
            resources: What a trial of each family occupies.
            available: What there is: `CPU`, and `GPU` where there is one.
            families: The families that are searched.

        Raises:
            InputError: If a family asks for more than there is.
        """
        self._resources = resources
        self._families = tuple(families)
        self.cpus, self._gpus = int(available.get("CPU", 0)), available.get("GPU", 0.0)
        for family in self._families:
            wanted = self.shape(family)
            if wanted.cpus > self.cpus or wanted.gpus > self._gpus:
                raise InputError(
                    f"resources.{family}: a trial asks for {wanted.cpus} CPUs and {wanted.gpus:g} GPUs, "
                    f"this machine offers {self.cpus} CPUs and {self._gpus:g} GPUs"
                )

    @property
    def concurrency(self) -> int:
        """The most trials that may run at once."""
        return self.cpus // min(self.shape(family).cpus for family in self._families)

    def shape(self, family: Family) -> Shape:
        """What a trial of `family` occupies; equal shapes share warm workers."""
        wanted = self._resources.of(family)
        gpus = wanted.gpus
        if gpus is None:
            gpus = 1.0 if family is Family.RESNET and self._gpus >= 1 else 0.0
        return Shape(wanted.cpus, gpus)

    def fits(self, family: Family, running: Iterable[Family]) -> bool:
        """Whether a trial of `family` may start beside trials of the families `running`."""
        shapes = [self.shape(each) for each in (family, *running)]
        cpus, gpus = sum(shape.cpus for shape in shapes), sum(shape.gpus for shape in shapes)
        return cpus <= self.cpus and gpus <= self._gpus + _TOLERANCE

    def is_full(self, running: Iterable[Family]) -> bool:
        """Whether no family fits beside `running`."""
        running = tuple(running)
        return not any(self.fits(family, running) for family in self._families)
