"""How many trials fit on the machines at once: what a trial of each family occupies, against what there is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from search.sections import Resources
from spaces.errors import InputError
from spaces.family import Family

_TOLERANCE = 1e-9  # fractions of a GPU, such as three thirds, must add up to a whole one


class Shape(NamedTuple):
    """What a trial occupies.

    Attributes:
        cpus: CPUs.
        gpus: GPUs, whole or a fraction.
    """

    cpus: int
    gpus: float


class Room:
    """What a search may occupy.

    Attributes:
        cpus: CPUs in all.
        gpus: GPUs in all.
    """

    def __init__(
        self,
        resources: Resources,
        available: Mapping[str, float] | Sequence[Mapping[str, float]],
        families: Iterable[Family],
        grows: bool = False,
    ) -> None:
        """Check that each family fits at all.

        Args:
            resources: What a trial of each family occupies.
            available: What there is: `CPU`, and `GPU` where there is one; of one machine, or of each.
            families: The families that are searched.
            grows: Whether machines may come later, so that nothing need fit yet.

        Raises:
            InputError: If a family asks for more than any machine has.
        """
        given = [available] if isinstance(available, Mapping) else available
        has_gpus = any(node.get("GPU", 0.0) >= 1 for node in given)
        self._shapes = {family: _shape(resources, family, has_gpus) for family in Family}
        self._families = tuple(families)
        nodes = self.update(given)
        for family in self._families:
            wanted = self._shapes[family]
            if not (self._most[wanted] or grows):
                raise InputError(
                    f"resources.{family}: a trial asks for {wanted.cpus} CPUs and {wanted.gpus:g} GPUs, {_offer(nodes)}"
                )

    def update(self, available: Sequence[Mapping[str, float]]) -> list[Shape]:
        """Machines came or went; what a trial occupies stays. What each machine has."""
        nodes = [Shape(int(node.get("CPU", 0)), node.get("GPU", 0.0)) for node in available]
        self.cpus, self.gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
        self._most = {shape: sum(_held(node, shape) for node in nodes) for shape in self._shapes.values()}
        return nodes

    @property
    def concurrency(self) -> int:
        """The most trials that may run at once."""
        shapes = [self._shapes[family] for family in self._families]
        by_cpus = self.cpus // min(shape.cpus for shape in shapes)
        least = min(shape.gpus for shape in shapes)
        return min(by_cpus, int(self.gpus / least + _TOLERANCE)) if least else by_cpus

    @property
    def busiest(self) -> Shape:
        """What trials occupy at once at the most: as many as fit, those that take the most GPUs and CPUs first."""
        left = Shape(self.cpus, self.gpus)
        for shape in sorted({self._shapes[family] for family in self._families}, key=lambda each: each[::-1])[::-1]:
            count = min(self._most[shape], _held(left, shape))
            left = Shape(left.cpus - count * shape.cpus, left.gpus - count * shape.gpus)
        return Shape(self.cpus - left.cpus, self.gpus - left.gpus)

    def shape(self, family: Family) -> Shape:
        """What a trial of `family` occupies; equal shapes share warm workers."""
        return self._shapes[family]

    def fits(self, family: Family, running: Iterable[Family]) -> bool:
        """Whether a trial of `family` may start beside trials of the families `running`.

        On several machines that is a little more than Ray can always place: a trial that falls between them waits.
        """
        wanted = self._shapes[family]
        shapes = [wanted, *(self._shapes[each] for each in running)]
        cpus, gpus = sum(shape.cpus for shape in shapes), sum(shape.gpus for shape in shapes)
        return cpus <= self.cpus and gpus <= self.gpus + _TOLERANCE and shapes.count(wanted) <= self._most[wanted]

    def idle(self, running: Iterable[Family]) -> tuple[Family, ...]:
        """The families of which one should start beside `running`, so that neither GPUs nor CPUs stand idle.

        Where some families take GPUs and some do not, it is those of the kind that is further from as many trials as
        fit at once, GPUs first, if one of them fits; where the two kinds cannot run side by side, all families.
        Those of a kind that fits on no machine are left out.
        """
        busy = tuple(running)
        kinds = [
            [family for family in self._families if bool(self._shapes[family].gpus) is gpu] for gpu in (True, False)
        ]
        here = [kind for kind in kinds if any(self.fits(family, ()) for family in kind)]
        if len(here) == 1:  # the other kind has no family, or waits for a machine
            return tuple(here[0])
        side_by_side = any(self.fits(gpu, (cpu,)) for gpu in kinds[0] for cpu in kinds[1])
        if not side_by_side:  # each waits for the other anyway
            return self._families
        open_to = [kind for kind in kinds if any(self.fits(family, busy) for family in kind)]
        freer: list[Family] = min(open_to or kinds, key=lambda kind: self._share_used(kind, busy))
        return tuple(freer)

    def _share_used(self, kind: Sequence[Family], running: Sequence[Family]) -> float:
        """Trials of the families `kind` among `running`, as a share of those that fit at once."""
        most = max(self._most[self._shapes[family]] for family in kind)
        return sum(family in kind for family in running) / most if most else float("inf")

    def is_full(self, running: Iterable[Family]) -> bool:
        """Whether no family fits beside `running`."""
        running = tuple(running)
        return not any(self.fits(family, running) for family in self._families)


def _shape(resources: Resources, family: Family, has_gpus: bool) -> Shape:
    wanted = resources.of(family)
    default = 1.0 if family is Family.RESNET and has_gpus else 0.0
    return Shape(wanted.cpus, default if wanted.gpus is None else wanted.gpus)


def _held(node: Shape, shape: Shape) -> int:
    """How many trials of `shape` the machine `node` holds."""
    by_cpus = node.cpus // shape.cpus
    return min(by_cpus, int(node.gpus / shape.gpus + _TOLERANCE)) if shape.gpus else by_cpus


def _offer(nodes: Sequence[Shape]) -> str:
    offers = " or ".join(dict.fromkeys(f"{node.cpus} CPUs and {node.gpus:g} GPUs" for node in nodes))
    return f"this machine offers {offers}" if len(nodes) == 1 else f"a machine of this cluster offers {offers}"
