"""Sections of the plan: what a trial occupies, where the search runs, and trials that only wait."""

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from cluster.address import LOCAL, check_address
from spaces.family import Family


class Section(BaseModel):
    """A group of fields, each known by name; an unknown one is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _size_or_off(value: Any) -> Any:
    """YAML reads a plain `off` as false, and pydantic would take true for 1."""
    if value is False:
        return "off"
    if value is True or (isinstance(value, str) and value != "off"):
        raise ValueError(f"received {value!r}; allowed are a size in GB and off")
    return value


CacheSize: TypeAlias = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["off"], BeforeValidator(_size_or_off)
]


class FamilyResources(Section):
    """What one trial of a family occupies.

    Attributes:
        cpus: CPUs, which are also the threads it may use.
        gpus: GPUs, a fraction of one or whole ones; by default one for resnet where there are any, none for the others.
    """

    cpus: int = Field(default=1, ge=1)
    gpus: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"above one GPU only whole numbers can be had; received {gpus:g}")
        return gpus


class Resources(Section):
    """Resources by family; families with equal resources share warm workers."""

    svm: FamilyResources = FamilyResources()
    forest: FamilyResources = FamilyResources()
    resnet: FamilyResources = FamilyResources()

    def of(self, family: Family) -> FamilyResources:
        """What one trial of `family` occupies."""
        resources: FamilyResources = getattr(self, family)
        return resources


class Cluster(Section):
    """Where the search runs.

    Attributes:
        address: `local`: Ray is started on this machine, on loopback, for the time of the search. `auto`: the cluster
            that runs on this machine. `host:port`: the one with that head. What ran before runs on afterwards.
        autoscale: Trials at once that a cluster which grows is asked to have room for, and waited for.
        cpus: Logical CPUs that `local` offers, default all.
        gpus: Logical GPUs that `local` offers, default all.
    """

    address: str = LOCAL
    autoscale: int | None = Field(default=None, ge=1)
    cpus: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        return check_address(address)

    @model_validator(mode="after")
    def _offers_its_own(self) -> Self:
        if self.address != LOCAL and (self.cpus, self.gpus) != (None, None):
            raise ValueError(f"cpus and gpus are for address local; the cluster at {self.address} offers what it has")
        if self.address == LOCAL and self.autoscale is not None:
            raise ValueError("autoscale is for a cluster; address local is this machine, which does not grow")
        return self


class Fake(Section):
    """Trials that wait instead of learning, to time and test everything else.

    Attributes:
        seconds: How long a trial waits until full fidelity.
    """

    seconds: float = Field(ge=0, allow_inf_nan=False)
